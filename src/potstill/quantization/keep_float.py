"""Layers that stay in float32 in a network whose other layers are int8."""

from collections.abc import Sequence

from torch import fx, nn

from potstill.errors import ConfigError, nearest
from potstill.models.paths import is_under
from potstill.quantization.layers import ContainerHook


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
        ConfigError: if a name holds no layer of int8, or no other layer is left.
    """
    layers = quantizable(traced)
    for name in names:
        if not any(is_under(path, [name]) for path in layers):
            raise ConfigError(_unknown(name, traced, layers))
    kept = {path for path in layers if is_under(path, names)}
    if kept and not any(
        path not in kept and not isinstance(layer, nn.BatchNorm2d) for path, layer in layers.items()
    ):
        raise ConfigError(
            f"keep_float=[{', '.join(names)}]: nothing is left to quantize. Fix: name fewer layers"
        )
    return kept | _norms_after(traced, kept)


def _has_int8_form(layer: nn.Module) -> bool:
    if type(layer) is nn.BatchNorm2d:
        return layer.track_running_stats
    return type(layer) in (nn.Conv2d, nn.Linear)


def _unknown(name: str, traced: fx.GraphModule, layers: dict[str, nn.Module]) -> str:
    known = {path for path, _ in traced.named_modules() if path}
    why = "holds no layer that int8 changes" if name in known else "no such layer"
    near = nearest(name, [path for path in known if any(is_under(one, [path]) for one in layers)])
    return f"keep_float=[{name}]: {why}. Fix: keep_float=[...] of {near}"


def _norms_after(traced: fx.GraphModule, kept: set[str]) -> set[str]:
    found = set()
    for node in traced.graph.nodes:
        if node.op != "call_module" or str(node.target) not in kept:
            continue
        norms = [str(user.target) for user in node.users if user.op == "call_module"]
        layers = {path: traced.get_submodule(path) for path in norms}
        readers = [path for path in norms if not isinstance(layers[path], ContainerHook)]
        if len(readers) == 1 and type(layers[readers[0]]) is nn.BatchNorm2d:
            found.add(readers[0])
    return found
