"""Convolutions and matrix products over what is there; absent entries are NaN."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from potstill.pruning.channels.silenced.mode import Mismatch, filled, operator

aten = torch.ops.aten
PARTLY = "reads channels that were removed in some places only"


@operator("convolution")
def convolution(
    image: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int,
) -> Tensor:  # fmt: skip
    """Convolve what is there; filters whose weights are all absent make absent channels."""
    if transposed:
        raise Mismatch("a transposed convolution reads channels that were removed")
    weights = weight.isnan().flatten(2)  # (K, C / groups, places)
    gone, read = weights.flatten(1).all(1), _absent_channels(image)
    columns = _uniform(weights[~gone], 2)
    wanted = read.view(groups, 1, -1).expand(-1, len(weight) // groups, -1).flatten(0, 1)[~gone]
    if not torch.equal(columns, wanted):
        raise Mismatch(_readers(wanted, columns))
    biases = None if bias is None else filled(bias)
    rest = (stride, padding, dilation, transposed, output_padding, groups)
    if groups > 1:
        out = aten.convolution(filled(image), filled(weight), biases, *rest)
        out[:, gone] = torch.nan
        return out
    # The same sums, but none for filters that are absent, and none over zeros.
    found = aten.convolution(image[:, ~read], weight[~gone][:, ~read],
                             None if biases is None else biases[~gone], *rest)  # fmt: skip
    out = found.new_full((len(found), len(weight), *found.shape[2:]), torch.nan)
    out[:, ~gone] = found
    return out


@operator("constant_pad_nd")
def pad(value: Tensor, sizes: Sequence[int], number: float = 0.0) -> Tensor:
    """Pad; along an absent channel the padding is absent too."""
    for back, (before, after) in enumerate(zip(sizes[::2], sizes[1::2], strict=True), 1):
        absent = value.isnan().all(-back, keepdim=True)
        value = aten.constant_pad_nd(value, [0, 0] * (back - 1) + [before, after], number)
        value = torch.where(absent, torch.nan, value)
    return value


@operator("mm")
def product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply what is there; rows and columns that are all absent stay so."""
    rows, columns = left.isnan().all(1), right.isnan().all(0)
    read = _uniform(left[~rows].isnan(), 0)
    held = _uniform(right[:, ~columns].isnan(), 1)
    if not torch.equal(read, held):
        raise Mismatch(_readers(read[None], held[None]))
    out = filled(left) @ filled(right)
    out[rows], out[:, columns] = torch.nan, torch.nan
    return out


@operator("addmm")
def product_with_bias(bias: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Multiply what is there, and add the bias."""
    return product(left, right) + bias


@operator("bmm")
def batched_product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply each pair of matrices."""
    return torch.stack([product(a, b) for a, b in zip(left, right, strict=True)])


def _absent_channels(image: Tensor) -> Tensor:
    """Return which channels are absent, (C,), reading most of the image once."""
    some = image.sum([dim for dim in range(image.dim()) if dim != 1]).isnan()
    if not image[:, some].isnan().all():
        raise Mismatch(PARTLY)
    return some


def _uniform(absent: Tensor, dim: int) -> Tensor:
    """Return where entries are absent, the same all along `dim`."""
    if not torch.equal(found := absent.all(dim), absent.any(dim)):
        raise Mismatch(PARTLY)
    return found


def _readers(absent: Tensor, cut: Tensor) -> str:
    missed, extra = (absent & ~cut).any(0).sum(), (cut & ~absent).any(0).sum()
    return f"reads {missed} channels that were removed, and lacks {extra} that are there"
