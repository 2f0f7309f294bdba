"""Counter-based random numbers: functions of a purpose and its counts, without state.

Numbers of (seed, epoch, sample id, view) come out the same in any batch, worker or process,
and there is no generator whose state a checkpoint would have to keep.
"""

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def mix(state: int) -> int:
    """Return splitmix64's output for a 64-bit state (Steele, Lea and Flood 2014)."""
    state = ((state ^ (state >> 30)) * _MIX_1) & _MASK
    state = ((state ^ (state >> 27)) * _MIX_2) & _MASK
    return state ^ (state >> 31)


def key(*parts: int) -> int:
    """Return one 64-bit number for a sequence of integers; their order counts."""
    state = 0
    for part in parts:
        state = mix((state + _GOLDEN + part) & _MASK)
    return state


def generator(*parts: int) -> torch.Generator:
    """Return a fresh CPU generator for `parts`, for a draw that is made whole, such as an order."""
    return torch.Generator().manual_seed(_signed(key(*parts)))


def uniforms(sample_id: Tensor, draws: int, *parts: int) -> Tensor:
    """Return `draws` independent numbers in [0, 1) for each sample id and `parts`.

    Args:
        sample_id: (N,) int64.
        draws: D, how many numbers a sample needs.
        parts: what else the numbers depend on, such as seed, epoch and view.

    Returns:
        (N, D) float32 on the ids' device, the same bits on every device.

    Example:
        >>> from torch import tensor
        >>> both = uniforms(tensor([3, 4]), 2, 7, 1)
        >>> torch.equal(both[1:], uniforms(tensor([4]), 2, 7, 1))  # whatever else is in the batch
        True
    """
    start = _mix(sample_id * _signed(_GOLDEN) + _signed(key(*parts)))  # (N,)
    steps = torch.arange(1, draws + 1, device=sample_id.device) * _signed(_GOLDEN)  # (D,)
    bits = _mix(start[:, None] + steps)  # (N, D)
    return _shift(bits, 40).to(torch.float32) * 2.0**-24  # 24 bits: exact in float32, below 1


def _mix(state: Tensor) -> Tensor:
    """Return `mix` of every int64, whose products wrap as unsigned ones do."""
    state = (state ^ _shift(state, 30)) * _signed(_MIX_1)
    state = (state ^ _shift(state, 27)) * _signed(_MIX_2)
    return state ^ _shift(state, 31)


def _shift(state: Tensor, places: int) -> Tensor:
    """Shift right with zeros: `>>` alone would bring in copies of the sign."""
    return (state >> places) & ((1 << (64 - places)) - 1)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number
