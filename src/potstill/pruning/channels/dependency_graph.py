"""torch-pruning's dependency graph, read only: what is coupled to what.

DepGraph (Fang et al. 2023, arXiv:2301.12900). Nothing is cut here.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from potstill.errors import ConfigError
from potstill.libraries.torch import ConvNd, reshaped
from potstill.libraries.torch_pruning import DependencyGraph, ops
from potstill.pruning.channels.index_maps import (
    Move,
    features_a_channel,
    gathered,
    keeps_channels,
    shifted,
    spread,
)
from potstill.pruning.channels.slicing import CUTTABLE, ChannelPad, is_depthwise, width_of

TRANSPARENT = (ops.OPTYPE.CONCAT, ops.OPTYPE.SPLIT, ops.OPTYPE.SLICE, ops.OPTYPE.EXPAND)


@dataclass(frozen=True)
class Item:
    """One layer or operation that a set of channels passes; `channels[k]` goes with `roots[k]`.

    `followed` is False where the channels get lost: logits, attention, mixing reshapes.
    """

    path: str | None
    part: Any
    side: str
    width: int
    channels: tuple[int, ...]
    roots: tuple[int, ...]
    followed: bool


@dataclass(frozen=True)
class Pad:
    """A call of a `ChannelPad`: its place and widths."""

    path: str
    module: ChannelPad
    width_in: int
    width_out: int


def coupled_items(net: nn.Module, image_shape: Sequence[int]) -> Iterator[list[Item]]:
    """Yield, widest layer first, all that goes with the outputs of each layer.

    Raises:
        ConfigError: if torch-pruning cannot trace the network.
    """
    image = torch.zeros(1, *image_shape)  # in a list below: torch-pruning would unpack the batch
    pads: dict[Any, Pad] = {}
    handles = _listen(net, pads)
    try:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = DependencyGraph().build_dependency(net, [image], verbose=False)
            _stop_where_lost(graph)
            _follow(graph, pads)
            yield from _walk(graph, pads)
    # Whatever it meets in a network it does not know: ZeroDivisionError, AttributeError ...
    except Exception as error:
        raise ConfigError(
            f"model={type(net).__name__}: its channels cannot be followed ({error!r}). "
            "Fix: another network; channel shuffles are not supported"
        ) from error
    finally:
        for handle in handles:
            handle.remove()


def _listen(net: nn.Module, pads: dict[Any, Pad]) -> list[Any]:
    def listen(path: str, module: nn.Module) -> Any:
        def note(pad: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(pad, ChannelPad):
                pads[output.grad_fn] = Pad(path, pad, args[0].shape[1], output.shape[1])

        return module.register_forward_hook(note)

    return [listen(path, module) for path, module in net.named_modules()]


def _stop_where_lost(graph: DependencyGraph) -> None:
    """Cut the paths through mixing reshapes: following them can take minutes, for nothing."""
    for node in graph.module2node.values():
        if not _is_followed(node, node.module):
            node.dependencies = []


def _follow(graph: DependencyGraph, pads: dict[Any, Pad]) -> None:
    """Set right what the graph guesses: paddings it takes for elementwise, strides of flattening.

    It infers the stride from widths nearby, which a shortcut that pads channels belies.
    """
    for node in graph.module2node.values():
        if (pad := pads.get(node.grad_fn)) is not None:
            before = pad.module.before
            _map(node, shifted(before, pad.width_out), shifted(-before, pad.width_in))
        elif node.type == ops.OPTYPE.RESHAPE:
            node.type = ops.OPTYPE.ELEMENTWISE  # else the guess comes back
            stride = features_a_channel(*reshaped(node.grad_fn))
            _map(node, spread(stride), gathered(stride))


def _map(node: Any, forward: Move, backward: Move) -> None:
    for dep in node.dependencies:
        dep.index_mapping[0] = backward if dep.target in node.inputs else None
    for dep in (dep for source in node.inputs for dep in source.dependencies):
        if dep.target is node:
            dep.index_mapping[0] = forward


def _walk(graph: DependencyGraph, pads: dict[Any, Pad]) -> Iterator[list[Item]]:
    roots = [m for m in graph.module2node if isinstance(m, (ConvNd, nn.Linear))]
    names = {module: path for path, module in graph.model.named_modules()}
    names |= {parameter: path for path, parameter in graph.model.named_parameters()}
    met: set[nn.Module] = set()
    # The widest first: a shortcut that pads channels shows a narrow layer only some of them.
    for root in sorted(roots, key=lambda module: -(width_of(module, "out") or 0)):
        if root in met:
            continue
        handler = graph.get_pruner_of_module(root).prune_out_channels
        group = graph.get_pruning_group(root, handler, list(range(width_of(root, "out") or 0)))
        items = [_item(graph, entry, names, pads) for entry in group]
        met |= {item.part for item in items if item.side == "out"}
        yield items


def _item(graph: DependencyGraph, entry: Any, names: dict[Any, str], pads: dict[Any, Pad]) -> Item:
    node, part = entry.dep.target, entry.dep.target.module
    channels, roots = tuple(entry.idxs), tuple(entry.root_idxs)
    side = "out" if graph.is_out_channel_pruning_fn(entry.dep.handler) else "in"
    ends = side == "out" and not node.outputs
    followed = not ends and None not in roots and _is_followed(node, part)
    if (pad := pads.get(node.grad_fn)) is not None and not isinstance(part, CUTTABLE):
        return Item(pad.path, pad.module, "out", pad.width_out, channels, roots, followed)
    if isinstance(part, nn.Parameter):
        side = f"dim{node.pruning_dim % part.dim()}"
    elif not isinstance(part, CUTTABLE) or graph.get_out_channels(node) is None:
        return Item(None, part, side, 0, channels, roots, followed)
    width = width_of(part, side) or 0
    followed = followed and all(0 <= channel < width for channel in channels)
    return Item(names[part], part, side, width, channels, roots, followed)


def _is_followed(node: Any, part: Any) -> bool:
    if isinstance(part, ConvNd):
        return not part.transposed and (is_depthwise(part) or part.groups < part.out_channels)
    if isinstance(part, nn.LayerNorm):
        return len(part.normalized_shape) == 1
    if isinstance(part, (nn.Parameter, *CUTTABLE)) or node.type in TRANSPARENT:
        return True
    if node.type == ops.OPTYPE.RESHAPE:
        return keeps_channels(*reshaped(node.grad_fn))
    return node.type == ops.OPTYPE.ELEMENTWISE
