"""Counts, latency and metrics of networks."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from potstill.measure.counts import (
        count_macs,
        count_nonzeros,
        count_parameters,
        measure,
        size_bytes,
    )
    from potstill.measure.host import cpu_features, machine
    from potstill.measure.latency import Latency, Timing, interleaved, latency_ms, one_thread

__all__ = [
    "Latency",
    "Timing",
    "count_macs",
    "count_nonzeros",
    "count_parameters",
    "cpu_features",
    "interleaved",
    "latency_ms",
    "machine",
    "measure",
    "one_thread",
    "size_bytes",
]
PLACES = {
    "potstill.measure.host": ("cpu_features", "machine"),
    "potstill.measure.latency": ("Latency", "Timing", "interleaved", "latency_ms", "one_thread"),
    "potstill.measure.counts": (
        *("count_macs", "count_nonzeros", "count_parameters", "measure", "size_bytes"),
    ),
}


def __getattr__(name: str) -> Any:
    # Imported on access: the command prints --help before torch is imported.
    for place, names in PLACES.items():
        if name in names:
            return getattr(importlib.import_module(place), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
