"""Kinds of operations in a traced network: quantized, or only moving values."""

import operator
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from potstill.quantization.layers import (
    ContainerHook,
    FloatBatchNorm2d,
    FreezableBatchNorm2d,
    QuantConv1d,
    QuantConv2d,
    QuantLinear,
)


class Kind(Enum):
    """Treatment of an operation in the int8 network."""

    AFFINE = auto()  # convolution, linear: int8 in, int8 out
    NORM = auto()  # batch-norm: folded into the convolution before it, or a 1x1 one of its own
    RECTIFIER = auto()  # a clamp, which the grid of the step before it does for nothing
    POINTWISE = auto()  # int8 in, int8 out, a grid of its own
    JOIN = auto()  # sum or product of tensors: as POINTWISE, and may end in a rectifier
    CAT = auto()  # all inputs and the output on one grid
    MOVE = auto()  # moves or selects values: the grid stays
    SPLIT = auto()  # as MOVE, returns a tuple
    SAME = auto()  # nothing in the int8 network
    SIZE = auto()  # a number, no tensor
    FLOAT = auto()  # everything else stays float
    HOOK = auto()  # fires the hooks of a container


RECTIFIERS: tuple[type[nn.Module], ...] = (nn.ReLU, nn.ReLU6, nn.Hardtanh)
POINTWISE: tuple[type[nn.Module], ...] = (
    nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.Sigmoid, nn.GELU, nn.Tanh, nn.LeakyReLU, nn.ELU,
    nn.PReLU, nn.Mish, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
)  # fmt: skip
MOVES: tuple[type[nn.Module], ...] = (
    nn.MaxPool2d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Unflatten, nn.ZeroPad2d, nn.PixelShuffle,
    nn.ChannelShuffle,
)  # fmt: skip
SAME: tuple[type[nn.Module], ...] = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout)
# Classes of torchvision and timm that nobody needs to install to use this.
NAMED = {
    "StochasticDepth": Kind.SAME,
    "DropPath": Kind.SAME,
    "DropBlock2d": Kind.SAME,
    "Permute": Kind.MOVE,
}

FUNCTIONS: dict[Callable[..., Any], Kind] = {
    **dict.fromkeys((F.relu, torch.relu, F.relu6, F.hardtanh), Kind.RECTIFIER),
    **dict.fromkeys(
        (F.hardswish, F.hardsigmoid, F.silu, F.sigmoid, torch.sigmoid, F.gelu, F.tanh, torch.tanh,
         F.leaky_relu, F.elu, F.mish, F.avg_pool2d, F.adaptive_avg_pool2d, torch.mean),
        Kind.POINTWISE,
    ),
    **dict.fromkeys((operator.add, torch.add, operator.mul, torch.mul), Kind.JOIN),
    **dict.fromkeys((torch.cat, torch.concat), Kind.CAT),
    **dict.fromkeys(
        (F.max_pool2d, F.adaptive_max_pool2d, F.pixel_shuffle, F.channel_shuffle, torch.flatten,
         torch.reshape, torch.permute, torch.transpose, torch.squeeze, torch.unsqueeze,
         operator.getitem),
        Kind.MOVE,
    ),
    **dict.fromkeys((torch.chunk, torch.split, torch.unbind), Kind.SPLIT),
    **dict.fromkeys((F.dropout, F.dropout2d), Kind.SAME),
}  # fmt: skip
METHODS: dict[str, Kind] = {
    **dict.fromkeys(("relu",), Kind.RECTIFIER),
    **dict.fromkeys(("sigmoid", "tanh", "mean"), Kind.POINTWISE),
    **dict.fromkeys(("add", "mul"), Kind.JOIN),
    **dict.fromkeys(
        ("flatten", "view", "reshape", "permute", "transpose", "squeeze", "unsqueeze", "expand",
         "repeat"),
        Kind.MOVE,
    ),
    **dict.fromkeys(("chunk", "split", "unbind"), Kind.SPLIT),
    **dict.fromkeys(("contiguous", "clone"), Kind.SAME),
    **dict.fromkeys(("size", "dim", "numel"), Kind.SIZE),
}  # fmt: skip


def kinds(graph_module: fx.GraphModule) -> dict[fx.Node, Kind]:
    """Return the kind of every node of the graph, in its order."""
    found: dict[fx.Node, Kind] = {}
    for node in graph_module.graph.nodes:
        found[node] = _kind(node, graph_module, found)
    return found


def _kind(node: fx.Node, graph_module: fx.GraphModule, found: dict[fx.Node, Kind]) -> Kind:
    if node.op == "call_module":
        return module_kind(graph_module.get_submodule(str(node.target)))
    inputs = [found[source] for source in node.all_input_nodes]
    if inputs and all(kind is Kind.SIZE for kind in inputs):
        return Kind.SIZE
    if node.op == "call_method":
        return METHODS.get(str(node.target), Kind.FLOAT)
    if node.op != "call_function":
        return Kind.FLOAT
    if node.target is getattr:
        return Kind.SIZE if node.args[1] in ("shape", "ndim", "device", "dtype") else Kind.FLOAT
    return _function_kind(node, inputs)


def _function_kind(node: fx.Node, inputs: list[Kind]) -> Kind:
    if node.target is F.pad:
        value = node.args[3] if len(node.args) > 3 else node.kwargs.get("value")
        return Kind.FLOAT if value else Kind.MOVE
    kind = FUNCTIONS.get(node.target, Kind.FLOAT)  # type: ignore[arg-type]
    tensors = [source for source in inputs if source is not Kind.SIZE]
    # x + 3 is arithmetic on one tensor; only tensors meet on grids.
    return Kind.FLOAT if kind is Kind.JOIN and len(tensors) < 2 else kind


def module_kind(module: nn.Module) -> Kind:
    """Return the kind of a call of `module`, `FLOAT` where no rule knows its type."""
    table: tuple[tuple[type[nn.Module] | tuple[type[nn.Module], ...], Kind], ...] = (
        (ContainerHook, Kind.HOOK),
        ((QuantConv1d, QuantConv2d, QuantLinear), Kind.AFFINE),
        (FloatBatchNorm2d, Kind.FLOAT),
        (FreezableBatchNorm2d, Kind.NORM),
        (RECTIFIERS, Kind.RECTIFIER),
        (POINTWISE, Kind.POINTWISE),
        (MOVES, Kind.MOVE),
        (SAME, Kind.SAME),
    )
    for types, kind in table:
        if isinstance(module, types):
            return kind
    return NAMED.get(type(module).__name__, Kind.FLOAT)
