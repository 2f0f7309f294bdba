"""Check that all processes of a run have one config, as a sampler of each draws its own."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from potstill.distributed import collectives
from potstill.errors import ConfigError


def check_same(config: Mapping[str, Any]) -> None:
    """Raise in every process unless all have the same config, as plain values.

    Raises:
        ConfigError: naming the first setting that differs, with two of its values.
    """
    flat = dict(_leaves(config, ""))
    digest = hashlib.sha256(json.dumps(flat, sort_keys=True, default=str).encode()).hexdigest()
    if len(set(collectives.gather(digest))) == 1:
        return
    key, (one, other) = _first_difference(collectives.gather({k: str(v) for k, v in flat.items()}))
    raise ConfigError(
        f"{key}: {one} in one process, {other} in another. Fix: start the sweep without "
        "torchrun or srun, or with a launcher that hands every process the values"
    )


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def _first_difference(configs: list[dict[str, str]]) -> tuple[str, tuple[str, str]]:
    """Return the first key that is not the same in all, and two values of it."""
    for key in sorted({key for config in configs for key in config}):
        values = list(dict.fromkeys(config.get(key, "nothing") for config in configs))
        if len(values) > 1:
            return key, (values[0], values[1])
    raise AssertionError("their hashes differ")
