"""Layers that stay in float32 in a network whose other layers are int8."""

from collections.abc import Collection, Sequence

from torch import fx, nn

from potstill.errors import ConfigError, nearest
from potstill.models.paths import is_under
from potstill.quantization.graph.readers import called, only_reader
from potstill.quantization.layers import INT8_FORMS


def quantizable(traced: fx.GraphModule) -> dict[str, nn.Module]:
    """Return the layers of a traced network that int8 has a form for, by path, in order.

    They are convolutions, linear layers and batch-norms with running statistics.
    """
    called = [str(node.target) for node in traced.graph.nodes if node.op == "call_module"]
    layers = {path: traced.get_submodule(path) for path in called}
    return {path: layer for path, layer in layers.items() if _has_int8_form(layer)}


def kept_layers(traced: fx.GraphModule, names: Sequence[str]) -> set[str]:
    """Return the paths that stay in float32: layers named or under a name, and their batch-norms.

    A batch-norm is of a convolution where nothing else reads what that computes.

    Raises:
        ConfigError: if there is none to quantize, no other is left, or a name holds none.
    """
    layers = quantizable(traced)
    if all(isinstance(layer, nn.BatchNorm2d) for layer in layers.values()):
        raise ConfigError(
            "model: has no convolution or linear layer to quantize. Fix: choose another network"
        )
    for name in names:
        if not any(is_under(path, [name]) for path in layers):
            raise ConfigError(_unknown(name, traced, layers))
    kept = {path for path in layers if is_under(path, names)}
    kept |= norms_after(traced, kept)
    if kept and kept == set(layers):
        raise ConfigError(
            f"keep_float=[{', '.join(names)}]: nothing is left to quantize. Fix: name fewer layers"
        )
    return kept


def norms_after(traced: fx.GraphModule, paths: Collection[str]) -> set[str]:
    """Return the batch-norms that alone compute with the output of one of those layers."""
    nodes = (node for node in traced.graph.nodes if node.op == "call_module")
    readers = [only_reader(node, traced) for node in nodes if str(node.target) in paths]
    norms = [node for node in readers if type(called(node, traced)) is nn.BatchNorm2d]
    return {str(node.target) for node in norms if node is not None}


def _has_int8_form(layer: nn.Module) -> bool:
    if type(layer) is nn.BatchNorm2d:
        return layer.track_running_stats
    return type(layer) in INT8_FORMS


def _unknown(name: str, traced: fx.GraphModule, layers: dict[str, nn.Module]) -> str:
    known = {path for path, _ in traced.named_modules() if path}
    why = "holds no layer that int8 changes" if name in known else "no such layer"
    near = nearest(name, [path for path in known if any(is_under(one, [path]) for one in layers)])
    return f"keep_float=[{name}]: {why}. Fix: keep_float=[...] of {near}"
