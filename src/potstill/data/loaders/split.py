"""Training and validation split, and the identity of a data set."""

import hashlib
from typing import Any

import torch
from torch import Tensor

from potstill.data.transforms.counted_rng import generator
from potstill.errors import ConfigError

_SPLIT = 3  # keeps the split apart from other uses of the same seed


def split_ids(targets: Tensor, held_out: int, seed: int) -> tuple[Tensor, Tensor]:
    """Split positions at random into (train, held out), both ascending, each class alike.

    Args:
        targets: (N,) int64 of classes; of any other shape or type all are taken for one class.
        held_out: how many positions the second part has; classes keep their share to within one.
        seed: of the choice.

    Example:
        >>> from torch import arange
        >>> train, held_out = split_ids(arange(100) % 10, held_out=20, seed=0)
        >>> len(train), (held_out % 10).bincount()
        (80, tensor([2, 2, 2, 2, 2, 2, 2, 2, 2, 2]))
    """
    if not 0 < held_out < len(targets):
        raise ConfigError(
            f"data.val_size={held_out}: must leave some of the {len(targets)} training images "
            f"and take some. Fix: between 1 and {len(targets) - 1}"
        )
    if targets.dim() > 1 or targets.is_floating_point():
        targets = torch.zeros(len(targets), dtype=torch.int64)
    order = torch.randperm(len(targets), generator=generator(_SPLIT, seed))
    order = order[targets[order].argsort(stable=True)]  # class by class, at random within each
    counts = targets.bincount()
    place = torch.arange(len(targets)) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    quantile = (place + 0.5).double() / counts.repeat_interleave(counts)
    chosen = order[quantile.argsort(stable=True)[:held_out]]
    is_held_out = torch.zeros(len(targets), dtype=torch.bool)
    is_held_out[chosen] = True
    return (~is_held_out).nonzero()[:, 0], is_held_out.nonzero()[:, 0]


def fingerprint(*parts: Any) -> str:
    """Return the sha256 of tensors (shape, type and bytes), bytes and plain values, in order.

    Example:
        >>> fingerprint("digits", (8, 8)) == fingerprint("digits", (8, 8))
        True
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, bytes):
            digest.update(part)
        elif isinstance(part, Tensor):
            digest.update(f"{tuple(part.shape)} {part.dtype}".encode())
            digest.update(part.contiguous().numpy().data)
        else:
            digest.update(repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()
