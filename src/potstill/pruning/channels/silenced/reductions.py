"""Norms, sums, means and variances over what is there; absent entries are NaN."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from potstill.pruning.channels.silenced.mode import filled, operator

aten = torch.ops.aten
Dims = int | list[int] | None


@operator("native_batch_norm")
def batch_norm(image: Tensor, weight: Any, bias: Any, mean: Any, var: Any, training: bool,
               momentum: float, eps: float) -> tuple[Tensor, ...]:  # fmt: skip
    """Normalise each channel; one that is absent stays so."""
    if not training:
        return aten.native_batch_norm(image, weight, bias, mean, var, training, momentum, eps)
    dims = [dim for dim in range(image.dim()) if dim != 1]
    shape = [1, -1, *[1] * (image.dim() - 2)]
    return _affine(_normal(image, dims, eps), weight, bias, shape)


@operator("native_layer_norm")
def layer_norm(image: Tensor, shape: Sequence[int], weight: Any, bias: Any, eps: float) -> Any:
    """Normalise over what is there of the last dimensions."""
    dims = list(range(-len(shape), 0))
    return _affine(_normal(image, dims, eps), weight, bias, list(shape))


@operator("native_group_norm")
def group_norm(image: Tensor, weight: Any, bias: Any, count: int, channels: int, places: int,
               group: int, eps: float) -> Any:  # fmt: skip
    """Normalise over what is there of each group."""
    normal = _normal(image.reshape(count, group, -1), [2], eps).view(image.shape)
    return _affine(normal, weight, bias, [1, -1, *[1] * (image.dim() - 2)])


@operator("mean")
def mean(value: Tensor, dim: Dims = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """Average what is there."""
    return value.nanmean(dim, keepdim, dtype=dtype)


@operator("sum")
def total(value: Tensor, dim: Dims = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """Add up what is there; nothing is absent, not zero."""
    return _kept(value, value.nansum(dim, keepdim, dtype=dtype), dim, keepdim)


@operator("linalg_vector_norm", "norm")
def vector_norm(value: Tensor, ord: float = 2, dim: Dims = None, keepdim: bool = False,
                dtype: Any = None) -> Tensor:  # fmt: skip
    """Return the length of what is there."""
    size = torch.linalg.vector_norm(filled(value), ord, dim, keepdim, dtype=dtype)
    return _kept(value, size, dim, keepdim)


@operator("var")
def variance(value: Tensor, dim: Dims = None, *, correction: Any = None, keepdim: bool = False
             ) -> Tensor:  # fmt: skip
    """Return the variance of what is there."""
    off = (value - value.nanmean(dim, True)).square()
    count = (~value.isnan()).sum(dim, keepdim)
    return _kept(value, off.nansum(dim, keepdim), dim, keepdim) / (
        count - (1 if correction is None else correction)
    )


@operator("std")
def deviation(value: Tensor, dim: Dims = None, **options: Any) -> Tensor:
    """Return the standard deviation of what is there."""
    return variance(value, dim, **options).sqrt()


@operator("var_mean")
def variance_and_mean(value: Tensor, dim: Dims = None, **options: Any) -> tuple[Tensor, Tensor]:
    """Return variance and mean of what is there."""
    return variance(value, dim, **options), value.nanmean(dim, options.get("keepdim", False))


@operator("amax")
def largest(value: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Return the largest of what is there."""
    found = filled(value, -torch.inf).amax(() if dim is None else dim, keepdim)
    return _kept(value, found, dim, keepdim)


@operator("amin")
def smallest(value: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Return the smallest of what is there."""
    return -largest(-value, dim, keepdim)


def _kept(value: Tensor, result: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    """Return `result`, absent where nothing was there to reduce."""
    dims = list(range(value.dim())) if dim is None or dim == [] else dim
    there = (~value.isnan()).sum(dims, keepdim) > 0
    return torch.where(there, result, torch.nan)


def _normal(value: Tensor, dims: list[int], eps: float) -> Tensor:
    off = value - value.nanmean(dims, True)
    return off / (off.square().nanmean(dims, True) + eps).sqrt()


def _affine(value: Tensor, weight: Any, bias: Any, shape: list[int]) -> tuple[Tensor, ...]:
    value = value if weight is None else value * weight.view(shape)
    value = value if bias is None else value + bias.view(shape)
    return value, value, value  # the statistics, which no network reads
