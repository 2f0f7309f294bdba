"""Preparation for QAT: a network that trains with the rounding of its int8 form."""

from collections.abc import Sequence

from torch import fx, nn

from potstill.errors import ConfigError
from potstill.models.parametrized import plain_copy
from potstill.models.plain import check_plain
from potstill.quantization.fake_quantize import ActivationQuantizer
from potstill.quantization.graph.grid_plan import Grids, plan_grids
from potstill.quantization.graph.paddings import pad_apart
from potstill.quantization.graph.trace import trace_layers
from potstill.quantization.keep_float import kept_layers, quantizable
from potstill.quantization.layers import (
    INT8_FORMS,
    ContainerHook,
    FloatBatchNorm2d,
    FreezableBatchNorm2d,
    swap_class,
)
from potstill.quantization.observers import activation_quantizers
from potstill.quantization.scheme import INT8, Scheme

QUANTIZERS = "quantizers"


def prepare(
    model: nn.Module,
    scheme: Scheme = INT8,
    keep_float: Sequence[str] = (),
    trains: bool = True,
) -> fx.GraphModule:
    """Return a copy of `model` that rounds weights and activations as its int8 form will.

    It is an ordinary module of ordinary modules: `train()`, `eval()`, deepcopy and `state_dict()`
    work as ever, and parameters keep their names. Hooks fire at the paths of its layers and
    containers (there they can read, not change), before the value itself is rounded.
    Ranges start with the first batch in training mode. Parametrized weights (weight norm, spectral
    norm) become plain ones, with a line that says so.

    Args:
        model: in float32.
        scheme: of the integers.
        keep_float: layers that stay in float32, with the batch-norm after each; a name covers
            what is under it.
        trains: whether it is to be trained; else its own code may do otherwise in training.

    Raises:
        ConfigError: if nothing in it can be quantized, it cannot be traced, or a name is no layer.

    Example:
        >>> net = prepare(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
        >>> is_prepared(net), sorted(name for name, _ in net.named_parameters())
        (True, ['0.bias', '0.weight'])
    """
    if is_prepared(model):
        raise ConfigError("model: is fake-quantized already. Fix: quantize the float network")
    check_plain(model, "model", "quantize")
    prepared = trace_layers(plain_copy(model), trains)
    _replace_layers(prepared, kept_layers(prepared, keep_float))
    pad_apart(prepared)
    _insert_quantizers(prepared, plan_grids(prepared), scheme)
    prepared.graph.lint()
    prepared.recompile()
    prepared.meta["scheme"] = scheme.to_dict()
    return prepared


def is_prepared(model: nn.Module) -> bool:
    """Return whether `model` has activation quantizers, as `prepare` inserts them."""
    return bool(activation_quantizers(model))


def _replace_layers(prepared: fx.GraphModule, kept: set[str]) -> None:
    for path, layer in quantizable(prepared).items():
        if isinstance(layer, nn.BatchNorm2d):
            kind = FloatBatchNorm2d if path in kept else FreezableBatchNorm2d
            swap_class(layer, kind, frozen=False)
        elif path not in kept:
            swap_class(layer, INT8_FORMS[type(layer)], faking=True)


def _insert_quantizers(prepared: fx.GraphModule, grids: Grids, scheme: Scheme) -> None:
    device = next(prepared.parameters()).device
    for grid, members in grids.members().items():
        quantizer = ActivationQuantizer(scheme.momentum, len(members)).to(device)
        prepared.add_submodule(_path(grid), quantizer.train(prepared.training))
        for number, node in enumerate(members):
            _insert(prepared, node, _path(grid), "quantize", (number,))
    for node in grids.kept:
        _insert(prepared, node, _path(grids.find(node)), "keep", ())


def _path(grid: fx.Node) -> str:
    return f"{QUANTIZERS}.after_{grid.name}"


def _insert(
    prepared: fx.GraphModule, node: fx.Node, path: str, method: str, extra: tuple[int, ...]
) -> None:
    """Let everything that computes with `node` compute with what its quantizer returns."""

    def computes(user: fx.Node) -> bool:
        return user is not rounded and not _leaves_container(prepared, user, node)

    with prepared.graph.inserting_after(node):
        quantizer = prepared.graph.get_attr(path)
    with prepared.graph.inserting_after(quantizer):
        rounded = prepared.graph.call_method(method, (quantizer, node, *extra))
    node.replace_all_uses_with(rounded, delete_user_cb=computes)


def _leaves_container(prepared: fx.GraphModule, user: fx.Node, node: fx.Node) -> bool:
    """Return whether `user` passes `node` to the hooks of its container.

    They get the unrounded tensor, the very one that the container's last layer returned: that
    is how a ReLU at the end of a block is recognised.
    """
    return (
        user.op == "call_module"
        and user.args[1:] == (node,)
        and isinstance(prepared.get_submodule(str(user.target)), ContainerHook)
    )
