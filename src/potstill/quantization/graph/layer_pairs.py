"""Pairs of layers between which each channel may be scaled without a change of the outputs."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from potstill.quantization.graph.readers import called, only_reader

# f(s x) = s f(x) for s > 0, value by value; of images, channel by channel.
ELEMENTWISE = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Identity, nn.Dropout)
ELEMENTWISE_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    F.relu,
    torch.relu,
    F.leaky_relu,
    F.dropout,
)
POOLS = (
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.ZeroPad2d,
    nn.Dropout2d,
)  # fmt: skip
POOL_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.dropout2d
)  # fmt: skip
CLAMPS = (nn.ReLU6, F.relu6)  # f(s x) = s min(max(x, 0), 6 / s)
SPATIAL = ([2, 3], [-2, -1], [-1, -2])
Layer = nn.Conv2d | nn.Linear


@dataclass(frozen=True)
class LayerPair:
    """Two layers, the batch-norm after each, None for none, and the ReLU6 nodes between them.

    Nothing else reads what lies between.
    """

    first: Layer
    norm: nn.BatchNorm2d | None
    clamps: tuple[fx.Node, ...]
    second: Layer
    second_norm: nn.BatchNorm2d | None


def layer_pairs(traced: fx.GraphModule) -> list[LayerPair]:
    """Return the pairs of a traced network, in order; of layers called once, no weight tied."""
    counts = Counter(str(n.target) for n in traced.graph.nodes if n.op == "call_module")
    owners = Counter(id(p) for m in traced.modules() for p in m.parameters(recurse=False))
    own = {
        layer
        for path, count in counts.items()
        if count == 1
        for layer in [traced.get_submodule(path)]
        if all(owners[id(parameter)] == 1 for parameter in layer.parameters())
    }
    pairs = (_pair(node, own, traced) for node in traced.graph.nodes)
    return [pair for pair in pairs if pair is not None]


def _pair(node: fx.Node, own: set[nn.Module], traced: fx.GraphModule) -> LayerPair | None:
    """Return the pair that begins with a step, if it is a layer and nothing after it forbids it."""
    first = called(node, traced)
    if type(first) not in (nn.Conv2d, nn.Linear) or first not in own:
        return None
    reader, norm = _skip_norm(node, own, traced)
    clamps: list[fx.Node] = []
    of_images, flat = isinstance(first, nn.Conv2d), False
    while reader is not None and (step := _step(reader, of_images and not flat, traced)):
        clamps += [reader] if step == "clamp" else []
        flat = flat or step == "flatten"
        reader = only_reader(reader, traced)
    second = called(reader, traced)
    wanted = nn.Conv2d if of_images and not flat else nn.Linear
    if reader is None or type(second) is not wanted or second not in own:
        return None
    return LayerPair(first, norm, tuple(clamps), second, _skip_norm(reader, own, traced)[1])  # type: ignore[arg-type]


def _skip_norm(
    node: fx.Node, own: set[nn.Module], traced: fx.GraphModule
) -> tuple[fx.Node | None, nn.BatchNorm2d | None]:
    """Return the one reader of a layer and its batch-norm, and that batch-norm."""
    reader = only_reader(node, traced)
    norm = called(reader, traced)
    if reader is None or type(norm) is not nn.BatchNorm2d or norm not in own:
        return reader, None
    return (only_reader(reader, traced), norm) if norm.track_running_stats else (None, None)


def _step(node: fx.Node, of_images: bool, traced: fx.GraphModule) -> str:
    """Return "clamp", "flatten" or "same", "" for what may do otherwise to a scaled channel.

    Args:
        node: a step.
        of_images: whether channels are the second dimension of four, not the last.
        traced: the network.
    """
    module, target = called(node, traced), node.target
    if type(module) in ELEMENTWISE or target in (*ELEMENTWISE_FUNCTIONS, "relu"):
        return "same"
    if not of_images:
        return ""
    if type(module) in CLAMPS or target in CLAMPS:
        return "clamp"
    if type(module) in POOLS or target in POOL_FUNCTIONS:
        return "same"
    return "flatten" if _flattens(node, module) else ""


def _flattens(node: fx.Node, module: nn.Module | None) -> bool:
    """Return whether a step makes (N, C, H, W) to (N, C) or (N, C H W)."""
    if isinstance(module, nn.Flatten):
        return (module.start_dim, module.end_dim) == (1, -1)
    if node.target in (torch.flatten, "flatten"):
        return node.args[1:] == (1,) and not node.kwargs
    if node.target in (torch.mean, "mean") and len(node.args) == 2 and not node.kwargs:
        dims = node.args[1]
        return isinstance(dims, list | tuple) and list(dims) in SPATIAL
    return False
