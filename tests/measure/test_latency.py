"""Times against a clock that the test winds."""

import statistics
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from potstill.measure import latency
from potstill.measure.latency import Timing, interleaved, latency_ms, on_threads, one_thread

IMAGE = (3, 8, 8)


class Spy(nn.Module):
    """Note how it was called: shape, training, inference mode, threads."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout()
        self.calls = []

    def forward(self, image):
        inference = torch.is_inference(image + 0)
        threads = torch.get_num_threads()
        self.calls.append((tuple(image.shape), self.dropout.training, inference, threads))
        return image


def wind(monkeypatch, durations):
    """Make the k-th timed call last durations[k] milliseconds."""
    ticks, now = [], 7.0
    for duration in durations:
        ticks += [now, now + duration / 1000]
        now += 5.0
    times = iter(ticks)
    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: next(times)))


def test_calls_take_turns_and_warming_up_does_not_count(monkeypatch):
    seen = []
    rounds = [(9, 90), (1, 40), (2, 20), (6, 30)]  # the first warms up
    wind(monkeypatch, [duration for round in rounds for duration in round])
    calls = {"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}
    found = interleaved(calls, rounds=3, warmup=1)
    assert seen == ["a", "b"] * 4
    assert found["a"][:2] == pytest.approx((2, 1))  # median and minimum of 1, 2, 6
    assert found["b"][:2] == pytest.approx((30, 20))
    assert found["a"].rounds == 3


def test_a_percentile_is_blank_for_too_few_rounds(monkeypatch):
    wind(monkeypatch, range(1, 60))
    assert interleaved({"a": lambda: None}, rounds=29, warmup=0)["a"].p95 is None
    found = interleaved({"a": lambda: None}, rounds=30, warmup=0)["a"]
    cuts = statistics.quantiles(range(30, 60), n=20, method="inclusive")
    assert found.p95 == pytest.approx(cuts[-1])


@pytest.mark.parametrize(("times", "noisy"), [([2, 3, 9], False), ([2, 3.01, 4], True)])
def test_noisy_is_a_median_over_one_and_a_half_minima(times, noisy):
    assert Timing.of(times).noisy is noisy


def test_latency_is_median_and_95th_percentile_of_the_timed_runs(monkeypatch):
    durations = [1.0 + (17 * k) % 40 for k in range(40)]  # 1..40 ms, shuffled
    wind(monkeypatch, [99.0] * 3 + durations)
    found = latency_ms(nn.Flatten(), IMAGE, warmup=3, runs=40)
    assert found.median == pytest.approx(statistics.median(durations))
    cuts = statistics.quantiles(durations, n=20, method="inclusive")
    assert found.p95 == pytest.approx(cuts[-1])


def test_latency_runs_single_images_for_inference_on_one_thread():
    net = Spy()
    with on_threads(2):
        latency_ms(net, IMAGE, warmup=4, runs=30)
        assert torch.get_num_threads() == 2
    assert net.calls == [((1, *IMAGE), False, True, 1)] * 34
    assert net.dropout.training


def test_too_few_runs_are_refused_with_their_number():
    with pytest.raises(ValueError, match=r"runs=29.*at least 30"):
        latency_ms(Spy(), IMAGE, runs=29)


def test_threads_come_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), on_threads(before + 1), one_thread():
        raise KeyError
    assert torch.get_num_threads() == before
