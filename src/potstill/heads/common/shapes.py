"""Conversion between CNN maps, ViT token sequences and pooled vectors."""

import math

from torch import Tensor


def to_map(feature: Tensor) -> Tensor:
    """Return (N, C, H, W): maps as they are, tokens (N, L, C) as a square map, vectors as 1x1.

    A token sequence one longer than a square number has a class token first; it is left out.

    Raises:
        ValueError: if tokens do not form a square.

    Example:
        >>> from torch import zeros
        >>> to_map(zeros(2, 17, 8)).shape
        torch.Size([2, 8, 4, 4])
    """
    if feature.dim() == 4:
        return feature
    if feature.dim() == 2:
        return feature[:, :, None, None]
    if feature.dim() != 3:
        raise ValueError(f"a feature has 2, 3 or 4 dimensions, got {tuple(feature.shape)}")
    num_tokens = feature.shape[1]
    side = math.isqrt(num_tokens)
    if side * side != num_tokens:
        side = math.isqrt(num_tokens - 1)
        if side * side != num_tokens - 1:
            raise ValueError(f"{num_tokens} tokens form no square map")
        feature = feature[:, 1:]
    return feature.transpose(1, 2).unflatten(2, (side, side))


def to_pooled(feature: Tensor) -> Tensor:
    """Return (N, C): vectors as they are, maps and tokens averaged over their positions.

    Example:
        >>> from torch import ones
        >>> to_pooled(ones(1, 2, 4, 4))
        tensor([[1., 1.]])
    """
    if feature.dim() == 2:
        return feature
    return to_map(feature).flatten(2).mean(2)
