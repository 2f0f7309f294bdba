"""Latency of several networks, measured in turns so that a slow machine slows all alike."""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from potstill.models.copies import copy_network
from potstill.models.features.trace import in_eval_mode

MIN_RUNS = 30  # for a 95th percentile
NOISY = 1.5
Key = TypeVar("Key", bound=Hashable)


class Latency(NamedTuple):
    """Milliseconds a forward pass takes: the median and the 95th percentile."""

    median: float
    p95: float


class Timing(NamedTuple):
    """Milliseconds of a call over many rounds; `p95` is None for fewer than 30 of them."""

    median: float
    minimum: float
    p95: float | None
    rounds: int

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> "Timing":
        """Return median, minimum, 95th percentile and number of these times."""
        many = len(milliseconds) >= MIN_RUNS
        p95 = float(np.percentile(milliseconds, 95)) if many else None
        found = float(np.median(milliseconds)), float(min(milliseconds))
        return cls(*found, p95, len(milliseconds))

    @property
    def noisy(self) -> bool:
        """Whether the median is over 1.5 times the minimum: something else was running."""
        return self.median > NOISY * self.minimum


def interleaved(
    calls: Mapping[Key, Callable[[], Any]], rounds: int = 50, warmup: int = 10
) -> dict[Key, Timing]:
    """Time each call once a round, in turn, after rounds of warming up that do not count."""
    times: dict[Key, list[float]] = {name: [] for name in calls}
    for turn in range(warmup + rounds):
        for name, call in calls.items():
            seconds = _seconds(call)
            if turn >= warmup:
                times[name].append(1000 * seconds)
    return {name: Timing.of(found) for name, found in times.items()}


def latency_ms(
    net: nn.Module, image_shape: Sequence[int], warmup: int = 10, runs: int = 50
) -> Latency:
    """Time single images of `image_shape` (C, H, W) on the CPU, in milliseconds.

    A network on another device is timed as a copy. On one thread: with more, a core that some
    other program takes away turns one millisecond into fifty.
    """
    if runs < MIN_RUNS:
        raise ValueError(f"runs={runs}: a 95th percentile wants at least {MIN_RUNS} runs")
    if floating(net).device.type != "cpu":
        net = copy_network(net).cpu()
    image = blank_image(net, image_shape)
    with one_thread(), in_eval_mode(net), torch.inference_mode():
        found = interleaved({"net": lambda: net(image)}, runs, warmup)["net"]
    assert found.p95 is not None
    return Latency(found.median, found.p95)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread for a while."""
    with on_threads(1):
        yield


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Compute on `count` threads for a while."""
    threads = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def blank_image(net: nn.Module, image_shape: Sequence[int]) -> Tensor:
    """Return one black image (1, C, H, W) of the network's own type, where it is."""
    like = floating(net)
    return torch.zeros(1, *image_shape, device=like.device, dtype=like.dtype)


def floating(net: nn.Module) -> Tensor:
    """Return a tensor of the network in floating point."""
    tensors = chain(net.parameters(), net.buffers())
    return next((tensor for tensor in tensors if tensor.is_floating_point()), torch.empty(0))


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
