"""Parameterless shortcuts in a torch.export graph, rewritten as convolutions."""

from dataclasses import dataclass
from typing import Any, Optional

import torch
from torch import Tensor, fx

from potstill.export.xnnpack.steps import QUANTIZE, zeros_and_ones
from potstill.quantization.graph.operators import DEQUANTIZE

ATEN = torch.ops.aten


@dataclass(frozen=True)
class Shortcut:
    """`pad(x[:, :, ::stride, ::stride])`, where the padding is of channels and may be missing.

    Attributes:
        source: the step that gives x (N, C, H, W).
        last: the step whose value is replaced.
        stride: in both directions.
        front: empty channels before those of x.
        back: empty channels after them.
    """

    source: Any
    last: Any
    stride: int
    front: int = 0
    back: int = 0

    @classmethod
    def at(cls, columns: Any) -> Optional["Shortcut"]:
        """Return the shortcut whose columns the slice `columns` takes, or None."""
        stride, rows = _step(columns, 3), columns.args[0]
        if stride < 2 or _step(rows, 2) != stride or len(rows.users) > 1:
            return None
        pad = _after(columns)
        if pad is None or pad.target is not ATEN.pad.default or not _adds_channels(pad):
            return cls(rows.args[0], columns, stride)
        return cls(rows.args[0], pad, stride, *pad.args[1][4:])

    @property
    def in_integers(self) -> bool:
        """Whether x is on a grid, and the result is rounded to one."""
        users = list(self.last.users)
        return self.source.target is DEQUANTIZE and [n.target for n in users] == [QUANTIZE]

    def weight(self) -> Tensor:
        """Return (C + front + back, C, 1, 1): one where an output channel copies one of x."""
        channels = self.source.meta["val"].shape[1]
        weight = torch.zeros(self.front + channels + self.back, channels, 1, 1)
        copies = torch.arange(channels)
        weight[self.front + copies, copies] = 1
        return weight

    def convolve(self, graph_module: fx.GraphModule, name: str) -> None:
        """Replace the shortcut by a convolution whose weights are buffers called `name`."""
        weight = self.weight()
        with graph_module.graph.inserting_before(self.last):
            used = zeros_and_ones(graph_module, name, weight, self.in_integers)
            new = graph_module.graph.call_function(
                ATEN.conv2d.default, (self.source, used, None, [self.stride] * 2)
            )
        self.last.replace_all_uses_with(new)


def _step(node: Any, dim: int) -> int:
    """Return the step of a slice that takes every s-th of all along `dim`, 1 if it is none."""
    if node.target is not ATEN.slice.Tensor or len(node.args) < 5:
        return 1
    _, along, start, end, step = node.args
    return step if along == dim and not start and end >= node.args[0].meta["val"].shape[dim] else 1


def _after(node: Any) -> Any:
    """Return the only step that computes with `node`, past its rounding, or None."""
    while len(node.users) == 1:
        node = next(iter(node.users))
        if node.target not in (QUANTIZE, DEQUANTIZE):
            return node
    return None


def _adds_channels(pad: Any) -> bool:
    _, widths, *rest = pad.args
    return len(widths) == 6 and not any(widths[:4]) and min(widths) >= 0 and not any(rest[1:])
