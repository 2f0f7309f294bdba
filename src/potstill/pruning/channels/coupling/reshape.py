"""Channel labels through a reshape: flattened, split into parts, or joined."""

import math
from collections.abc import Sequence

from torch import Tensor

from potstill.pruning.channels.coupling.labels import Axis, Labels

Dims = list[int]


def regroup(before: Sequence[int], after: Sequence[int]) -> list[tuple[Dims, Dims]]:
    """Return the smallest sets of dimensions of equal product that a reshape turns into another.

    Dimensions of size one are left out.

    >>> regroup((2, 8, 4, 4), (2, 128))
    [([0], [0]), ([1, 2, 3], [1])]
    >>> regroup((2, 8, 5), (2, 2, 4, 1, 5))
    [([0], [0]), ([1], [1, 2]), ([2], [4])]
    """
    inside = [dim for dim, size in enumerate(before) if size != 1]
    outside = [dim for dim, size in enumerate(after) if size != 1]
    groups = []
    while inside:
        left, right = [inside.pop(0)], [outside.pop(0)]
        while (have := math.prod(before[d] for d in left)) != (
            want := math.prod(after[d] for d in right)
        ):
            (left if have < want else right).append((inside if have < want else outside).pop(0))
        groups.append((left, right))
    return groups


def reshaped(
    labels: Labels, axes: Sequence[Tensor | None], before: Sequence[int], after: Sequence[int]
) -> list[Axis]:
    """Return the axes after one set of dimensions became another.

    Channels split in two dimensions (groups of a shuffle, heads) keep their labels along the
    larger; the same place in each part is tied, since each part must keep as many.
    """
    held = [(dim, axis) for dim, axis in enumerate(axes) if axis is not None]
    if not held or (len(before), len(after)) == (1, 1):
        return [axes[0] if held else None] * len(after)
    ((dim, axis), *others) = held
    if others:
        labels.fix(*axes)
        return [None] * len(after)
    inside = [-1 if d == dim else 1 for d in range(len(before))]
    spread = axis.view(inside).expand(tuple(before)).reshape(tuple(after))
    return _main_axis(labels, spread)


def _main_axis(labels: Labels, spread: Tensor) -> list[Axis]:
    """Return labels along the largest dimension in which `spread` varies, tied along the others."""
    varied = [d for d in range(spread.dim()) if (spread != spread.narrow(d, 0, 1)).any()]
    main = max(varied or range(spread.dim()), key=lambda d: (spread.shape[d], d))
    ahead = spread.movedim(main, -1)
    first = ahead.reshape(-1, spread.shape[main])[0]
    labels.tie(ahead, first)
    return [first if d == main else None for d in range(spread.dim())]
