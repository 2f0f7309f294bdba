"""Rules for pieces of tensors: slices, splits, concatenation, padding."""

from collections.abc import Sequence

import torch
from torch import Tensor

from potstill.pruning.channels.coupling.labels import FIXED, Axes, Axis, Statistic
from potstill.pruning.channels.coupling.trace import Arguments, LabelTrace, rule


@rule("slice")
def take_slice(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Take labels of a share of the channels: a half, every second one."""
    before, dim, step = arguments["self"], arguments["dim"], arguments["step"]
    axes, size = list(trace.get(before)), before.shape[dim]
    if isinstance(axis := axes[dim], Tensor) and out.shape[dim] != size:
        start = (arguments["start"] or 0) % size
        axes[dim] = _share(trace, axis, axis[start::step][: out.shape[dim]], start, step)
    trace.set(out, axes)


def _share(trace: LabelTrace, whole: Tensor, part: Tensor, start: int, step: int) -> Axis:
    """Tie the shares to each other: a network with fewer channels cuts at the same share then."""
    size, even = len(part), len(whole) % len(part) == 0
    if not even or (step * size != len(whole) if step > 1 else start % size):
        trace.labels.fix(whole)
        return None
    shares = whole.view(size, step) if step > 1 else whole.view(-1, size).t()
    trace.labels.tie(shares, shares[:, :1])
    return part


@rule("split", "split_with_sizes", "unsafe_split")
def split(trace: LabelTrace, arguments: Arguments, out: Sequence[Tensor]) -> None:
    """Take the labels of each piece; equal pieces are tied, since each must keep as many."""
    before, dim = arguments["self"], arguments["dim"]
    axes = list(trace.get(before))
    whole = axes[dim]
    sizes = [piece.shape[dim] for piece in out]
    if isinstance(whole, Tensor) and len(set(sizes)) == 1:
        trace.labels.tie(whole.view(len(sizes), -1), whole[: sizes[0]])
        pieces: Sequence[Axis] = whole.split(sizes)
    else:
        trace.labels.fix(whole)
        pieces = [None] * len(sizes)
    for piece, axis in zip(out, pieces, strict=True):
        axes[dim] = axis
        trace.set(piece, axes)


@rule("cat")
def concatenate(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Put labels behind each other; what has none is fixed in its place."""
    tensors, dim = (
        [t for t in arguments["tensors"] if t.dim() == out.dim()],
        arguments["dim"] % out.dim(),
    )
    trace.labels.fix(*(a for t in tensors if isinstance(a := trace.get(t)[dim], Statistic)))
    met: list[Axes] = [trace.get(tensor) for tensor in tensors]
    axes = [trace.labels.join(column) if d != dim else None
            for d, column in enumerate(zip(*met, strict=True))]  # fmt: skip
    if any(isinstance(one[dim], Tensor) for one in met):
        parts = [_filled(one[dim], t.shape[dim]) for one, t in zip(met, tensors, strict=True)]
        axes[dim] = torch.cat(parts)
    trace.set(out, axes)


def _filled(axis: Axis, size: int) -> Tensor:
    return axis if isinstance(axis, Tensor) else torch.full((size,), FIXED)


@rule("stack")
def stack(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Tie tensors that are put side by side along a new dimension."""
    met = [trace.get(tensor) for tensor in arguments["tensors"]]
    axes = [trace.labels.join(column) for column in zip(*met, strict=True)]
    axes.insert(arguments["dim"] % out.dim(), None)
    trace.set(out, axes)


@rule("constant_pad_nd")
def pad(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Put fixed places around the channels where a padding reaches them."""
    axes, sizes = list(trace.get(arguments["self"])), arguments["pad"]
    for back, (before, after) in enumerate(zip(sizes[::2], sizes[1::2], strict=True), 1):
        axis = axes[-back]
        if isinstance(axis, Tensor) and min(before, after) >= 0:
            axes[-back] = torch.nn.functional.pad(axis, (before, after), value=FIXED)
        elif before or after:
            trace.labels.fix(axis)
            axes[-back] = None
    trace.set(out, axes)


@rule("glu")
def gated(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Tie the two halves that are multiplied."""
    axes, dim = list(trace.get(arguments["self"])), arguments["dim"]
    if isinstance(axis := axes[dim], Tensor):
        half = axis[: len(axis) // 2]
        trace.labels.tie(axis.view(2, -1), half)
        axes[dim] = half
    trace.set(out, axes)
