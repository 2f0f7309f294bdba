"""Fake quantization: float tensors rounded to the grid that the int8 network computes on.

Straight-through gradients (Bengio et al. 2013, arXiv:1308.3432); the grids are those of Jacob et
al. 2018 (arXiv:1712.05877).
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from potstill.libraries.torch import fake_quantize, forward_pre_hooks
from potstill.quantization.flags import is_on
from potstill.quantization.scheme import (
    ACTIVATION_MAX,
    ACTIVATION_MIN,
    SMALLEST_ACTIVATION_SCALE,
    SMALLEST_WEIGHT_SCALE,
    WEIGHT_MAX,
)


def affine(lo: Tensor, hi: Tensor) -> tuple[Tensor, Tensor]:
    """Return scale (float32) and zero point (int32) of the int8 grid over [lo, hi] and zero.

    Example:
        >>> from torch import tensor
        >>> affine(tensor(0.0), tensor(2.55))
        (tensor(0.0100), tensor(-128, dtype=torch.int32))
    """
    lo, hi = lo.min().clamp(max=0), hi.max().clamp(min=0)
    steps = ACTIVATION_MAX - ACTIVATION_MIN
    scale = ((hi - lo) / steps).clamp(min=SMALLEST_ACTIVATION_SCALE)
    zero_point = torch.round(ACTIVATION_MIN - lo / scale).clamp(ACTIVATION_MIN, ACTIVATION_MAX)
    return scale, zero_point.to(torch.int32)


def weight_scale(weight: Tensor) -> Tensor:
    """Return the scale (O,) of each output channel of a weight (O, ...).

    Example:
        >>> from torch import tensor
        >>> weight_scale(tensor([[1.27, -0.5], [0.0, -2.54]]))
        tensor([0.0100, 0.0200])
    """
    largest = weight.detach().flatten(1).abs().amax(1)
    return (largest / WEIGHT_MAX).clamp(min=SMALLEST_WEIGHT_SCALE)


def fake_weight(weight: Tensor) -> Tensor:
    """Return the weight (O, ...) rounded to its grid of 255 values a channel.

    Example:
        >>> from torch import tensor
        >>> fake_weight(tensor([[127.0, 0.4, -3.6]]))
        tensor([[127.,   0.,  -4.]])
    """
    scale = weight_scale(weight)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -WEIGHT_MAX, WEIGHT_MAX)


class ActivationQuantizer(nn.Module):
    """Fake quantization of activations: 256 values over a range that follows the data.

    Several values share one quantizer where the runtime needs one grid for all of them, before a
    concatenation: each is a member with a range of its own, and the grid spans them all.

    A prepared network calls `quantize`, not the module: of all hooks only forward pre-hooks fire,
    so that probing a network finds its layers and nothing else.

    Buffers: `lo`, `hi`, `seen` (M,) for M members; `observing` (the range moves in
    training) and `faking` (values are rounded).

    Args:
        momentum: share of a new batch in the moving range.
        members: values that share the grid.
    """

    lo: Tensor
    hi: Tensor
    seen: Tensor
    observing: Tensor
    faking: Tensor

    def __init__(self, momentum: float, members: int = 1) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("lo", torch.zeros(members))
        self.register_buffer("hi", torch.zeros(members))
        self.register_buffer("seen", torch.zeros(members, dtype=torch.bool))
        self.register_buffer("observing", torch.tensor(True))
        self.register_buffer("faking", torch.tensor(True))

    def forward(self, x: Tensor, member: int = 0) -> Tensor:
        """Return `x` on the grid, of its own shape and type; as it is while no range is known."""
        if self.training and is_on(self, "observing"):
            self.observe(x, member)
        return self.fake(x) if is_on(self, "faking") else x

    def quantize(self, x: Tensor, member: int = 0) -> Tensor:
        """Return `forward`, after the module's forward pre-hooks."""
        for hook in forward_pre_hooks(self):
            hook(self, (x,))
        return self.forward(x, member)

    def keep(self, x: Tensor) -> Tensor:
        """Return `x`, which was moved or selected from values on this grid, and so is on it."""
        return x

    @torch.no_grad()
    def observe(self, x: Tensor, member: int = 0) -> None:
        """Move the range towards that of `x`; the first tensor sets it.

        Where processes train together, the range is that of all their tensors.
        """
        lo, hi = span(x)
        seen = self.seen[member]
        self.lo[member] = torch.where(seen, self.lo[member].lerp(lo, self.momentum), lo)
        self.hi[member] = torch.where(seen, self.hi[member].lerp(hi, self.momentum), hi)
        self.seen[member] = True

    @torch.no_grad()
    def set_range(self, lo: Tensor | float, hi: Tensor | float) -> None:
        """Span the grid over [lo, hi] and zero, for all members."""
        self.lo.fill_(lo)
        self.hi.fill_(hi)
        self.seen.fill_(True)

    def grid(self) -> tuple[Tensor, Tensor]:
        """Return scale (float32) and zero point (int32) of the grid over all members' ranges."""
        return affine(self.lo, self.hi)

    def fake(self, x: Tensor) -> Tensor:
        """Return `x` rounded, or as it is while no range is known."""
        scale, zero_point = self.grid()
        known = self.seen.any().long()
        return fake_quantize(x, scale, zero_point, known, ACTIVATION_MIN, ACTIVATION_MAX)


def span(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest value of `x` on all processes, float32."""
    lo, hi = torch.aminmax(x.detach())
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return lo.float(), hi.float()
    both = torch.stack([-lo, hi]).float()
    dist.all_reduce(both, dist.ReduceOp.MAX)
    return -both[0], both[1]
