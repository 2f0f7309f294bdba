"""Methods that reduce observed values to the range [lo, hi] that int8 covers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from potstill.errors import ConfigError

NUM_BINS = 2**14  # 64 bins to a level of int8, so that a range cut to a few percent is still seen
LEVELS = 255  # steps between the 256 values of eight bits


@dataclass(frozen=True)
class Histogram:
    """How often a tensor's values fell into equal bins between `lo` and `hi`.

    counts (B,) float64; lo and hi scalars, the least and the greatest value.
    """

    counts: Tensor
    lo: Tensor
    hi: Tensor

    @property
    def edges(self) -> Tensor:
        """The bins' borders, (B + 1,) float64."""
        steps = torch.linspace(0, 1, len(self.counts) + 1, dtype=torch.float64)
        return self.lo + (self.hi - self.lo) * steps

    @property
    def centres(self) -> Tensor:
        """The bins' middles, (B,) float64."""
        return (self.edges[1:] + self.edges[:-1]) / 2


def count(x: Tensor, lo: Tensor, hi: Tensor) -> Tensor:
    """Return how many values of `x`, all within [lo, hi], fall into each bin, (NUM_BINS,) float64.

    In parts: histc counts in float32, which stops at 2^24.
    """
    low, high = float(lo), float(hi)
    parts = x.detach().float().flatten().split(2**24)
    return torch.stack([torch.histc(p, NUM_BINS, low, high).double().cpu() for p in parts]).sum(0)


Range = tuple[Tensor, Tensor]
RangeMethod = Callable[[Histogram], Range]


def min_max(histogram: Histogram) -> Range:
    """Return the least and the greatest value: nothing is clipped."""
    return histogram.lo, histogram.hi


def percentile(histogram: Histogram, percent: float = 99.99) -> Range:
    """Return the range that leaves (100 - percent) / 2 percent of the values out at either end.

    Calibration by percentiles as in Wu et al. 2020, arXiv:2004.09602, section 5.2.

    Example:
        >>> counts = torch.tensor([1.0, 98.0, 1.0], dtype=torch.float64)
        >>> percentile(Histogram(counts, torch.tensor(0.0), torch.tensor(3.0)), percent=98.0)
        (tensor(1., dtype=torch.float64), tensor(2., dtype=torch.float64))
    """
    share = torch.cat([torch.zeros(1, dtype=torch.float64), histogram.counts.cumsum(0)])
    share /= share[-1].clone()
    tail = (100 - percent) / 200
    # The last border with no more than `tail` below it, the first with no more above it.
    first = int((share <= tail).sum()) - 1
    last = int((share < 1 - tail).sum())
    return histogram.edges[first], histogram.edges[last]


def mse(histogram: Histogram, candidates: int = 100) -> Range:
    """Return the range, shrunk towards zero by one factor, of the least squared int8 error.

    The factors are k / candidates; clipped values count with the error clipping makes.
    The search is that of Choukroun et al. 2019, arXiv:1902.06822, section 3, over a grid.
    """
    factors = torch.arange(1, candidates + 1, dtype=torch.float64) / candidates
    errors = torch.stack(
        [quantization_error(histogram, histogram.lo * f, histogram.hi * f) for f in factors]
    )
    # The widest of equals: it clips least.
    best = factors[(errors <= errors.min()).nonzero()[-1, 0]]
    return histogram.lo * best, histogram.hi * best


def quantization_error(histogram: Histogram, lo: Tensor, hi: Tensor) -> Tensor:
    """Return the mean squared error of affine int8 over [lo, hi], 0 a level of its own."""
    lo, hi = lo.clamp(max=0), hi.clamp(min=0)
    scale = ((hi - lo) / LEVELS).clamp(min=torch.finfo(torch.float64).tiny)
    zero = torch.round(-lo / scale)
    x = histogram.centres
    quantized = (torch.round(x / scale) + zero).clamp(0, LEVELS) - zero
    return (histogram.counts * (x - scale * quantized).square()).sum() / histogram.counts.sum()


def find_range_method(name: str, percent: float = 99.99) -> RangeMethod:
    """Return the method called `name`; `percent` is for the percentile.

    Raises:
        ConfigError: if there is no such method, or `percent` is impossible.
    """
    if not 50 < percent <= 100:
        raise ConfigError(f"percent={percent}: not in (50, 100]. Fix: 99.99")
    methods: dict[str, RangeMethod] = {
        "min_max": min_max,
        "percentile": partial(percentile, percent=percent),
        "mse": mse,
    }
    if name not in methods:
        raise ConfigError(f"method={name}: unknown. Fix: one of {', '.join(methods)}")
    return methods[name]
