"""Ranges from a histogram against numpy and torch on the values themselves."""

import math

import numpy as np
import pytest
import torch

from potstill.errors import ConfigError
from potstill.quantization.range_methods import (
    NUM_BINS,
    Histogram,
    count,
    find_range_method,
    min_max,
    mse,
    percentile,
    quantization_error,
)


def draw(kind):
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(200_000, generator=generator)
    return {
        "normal": normal,
        "relu": normal.relu(),
        "tailed": normal * (1 + 30 * (torch.rand(200_000, generator=generator) > 0.9999)),
        "uniform": torch.rand(200_000, generator=generator) - 0.25,
        "positive": normal.abs() + 0.5,
    }[kind]


def histogram(x):
    lo, hi = x.min(), x.max()
    return Histogram(count(x, lo, hi), lo, hi)


def fake_quantize(x, lo, hi):
    """Torch's own affine int8."""
    lo, hi = min(float(lo), 0.0), max(float(hi), 0.0)
    scale = (hi - lo) / 255
    zero = int(np.clip(round(-128 - lo / scale), -128, 127))
    return torch.fake_quantize_per_tensor_affine(x, scale, zero, -128, 127)


def error(x, lo, hi):
    return (fake_quantize(x, lo, hi) - x).double().square().mean().item()


KINDS = ["normal", "relu", "tailed", "uniform", "positive"]


@pytest.mark.parametrize("kind", KINDS)
def test_counts_are_numpys(kind):
    x = draw(kind)
    found = histogram(x)
    expected, edges = np.histogram(x.numpy(), NUM_BINS, (x.min().item(), x.max().item()))
    # Borders are rounded to float32 in the one and to float64 in the other.
    assert np.abs(found.counts.numpy().cumsum() - expected.cumsum()).max() <= 3
    assert found.counts.sum() == 200_000
    np.testing.assert_allclose(found.edges.numpy(), edges, atol=1e-6)


def test_counts_above_what_float32_can_add():
    x = torch.zeros(2**24 + 8)
    x[0] = 1.0
    counts = count(x, x.min(), x.max())
    assert (counts[0].item(), counts[-1].item()) == (2**24 + 7, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_min_max(kind):
    x = draw(kind)
    lo, hi = min_max(histogram(x))
    assert (lo.item(), hi.item()) == (x.numpy().min(), x.numpy().max())


@pytest.mark.parametrize("percent", [99.99, 99.0, 80.0])
@pytest.mark.parametrize("kind", KINDS)
def test_percentile_is_numpys(kind, percent):
    x = draw(kind)
    tail = (100 - percent) / 2
    expected = np.percentile(x.double().numpy(), [tail, 100 - tail])
    bin_width = (x.max() - x.min()).item() / NUM_BINS
    # Near its ends a sample has gaps of its own: the neighbours in rank are as right.
    ranks = np.sort(x.double().numpy())
    at = [math.floor(tail / 100 * len(ranks)), math.ceil((1 - tail / 100) * len(ranks)) - 1]
    found = percentile(histogram(x), percent)
    for value, exact, rank in zip(found, expected, at, strict=True):
        gap = ranks[min(rank + 2, len(ranks) - 1)] - ranks[max(rank - 2, 0)]
        assert abs(value.item() - exact) <= bin_width + gap


def test_percentile_of_everything_clips_nothing():
    found = histogram(draw("normal"))
    lo, hi = percentile(found, 100.0)
    assert (lo.item(), hi.item()) == pytest.approx((found.lo.item(), found.hi.item()), rel=1e-6)


@pytest.mark.parametrize("share", [1.0, 0.6, 0.2])
@pytest.mark.parametrize("kind", KINDS)
def test_error_is_that_of_torchs_fake_quantize(kind, share):
    x = draw(kind)
    lo, hi = x.min() * share, x.max() * share
    found = quantization_error(histogram(x), lo.double(), hi.double()).item()
    assert found == pytest.approx(error(x, lo, hi), rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_mse_is_the_best_of_its_grid(kind):
    x = draw(kind)
    lo, hi = mse(histogram(x))
    errors = [error(x, x.min() * k / 100, x.max() * k / 100) for k in range(1, 101)]
    assert error(x, lo, hi) <= 1.01 * min(errors)
    assert hi.item() / x.max().item() == pytest.approx((1 + int(np.argmin(errors))) / 100, abs=0.03)


def test_tails_are_cut_by_mse_and_percentile_only():
    x = draw("tailed")
    found = histogram(x)
    widest = error(x.clamp(-4, 4), *min_max(found))
    assert error(x.clamp(-4, 4), *percentile(found, 99.9)) < widest / 10
    assert error(x, *mse(found)) < error(x, *min_max(found))


@pytest.mark.parametrize("name", ["min_max", "percentile", "mse"])
@pytest.mark.parametrize("value", [0.0, 0.7, -2.0])
def test_a_constant_has_a_finite_range(name, value):
    found = histogram(torch.full((10,), value))
    lo, hi = find_range_method(name)(found)
    assert (lo.item(), hi.item()) == pytest.approx((value, value))


def test_unknown_method_and_impossible_percent():
    with pytest.raises(ConfigError, match="method=entropy: unknown"):
        find_range_method("entropy")
    for percent in (50, 100.1):
        with pytest.raises(ConfigError, match=f"percent={percent}"):
            find_range_method("percentile", percent)
