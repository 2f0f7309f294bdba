"""Training with a few labels: the choice of the images that keep theirs."""

from dataclasses import replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from potstill.data.transforms.counted_rng import generator
from potstill.errors import DataError

UNLABELLED = -1  # target of an image whose label is not to be seen
Labels = Literal["all", "few", "only"]  # what training shows: all, a few, those images alone
Split = TypeVar("Split", bound=Any)
_LABELS = 11  # keeps the choice apart from other uses of the same seed


def labelled_ids(targets: Tensor, per_class: int, seed: int) -> Tensor:
    """Return positions of `per_class` images of each class at random, ascending, (M,) int64.

    Args:
        targets: (N,) int64 of classes.
        per_class: how many of each.
        seed: of the choice.

    Raises:
        DataError: if a class has fewer.

    Example:
        >>> from torch import arange
        >>> labelled_ids(arange(40) % 4, per_class=2, seed=0).remainder(4).bincount()
        tensor([2, 2, 2, 2])
    """
    counts = targets.bincount()
    if int(counts.min()) < per_class:
        raise DataError(
            f"data.labels_per_class={per_class}: class {int(counts.argmin())} has "
            f"{int(counts.min())} training images. Fix: {int(counts.min())} or fewer"
        )
    order = torch.randperm(len(targets), generator=generator(_LABELS, seed))
    order = order[targets[order].argsort(stable=True)]  # class by class, at random within each
    starts = counts.cumsum(0) - counts
    places = starts[:, None] + torch.arange(per_class)
    return order[places.flatten()].sort().values


def shown(split: Split, chosen: Tensor, labels: Labels) -> Split:
    """Return what training sees of a split.

    With "few", every image, and labels of the chosen ones (M,) alone; with "only", the chosen
    images as often as makes an epoch of the same length, each time another sample id and so
    another augmentation.
    """
    if labels == "all":
        return split
    if labels == "few":
        targets = torch.full_like(split.targets, UNLABELLED)
        targets[chosen] = split.targets[chosen]
        return replace(split, targets=targets)
    times = -(-len(split) // len(chosen))
    return split[chosen.repeat(times)[: len(split)]]
