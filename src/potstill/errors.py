"""Errors by kind: each has its own exit code and prints as one line."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class PotstillError(Exception):
    """An error that a person can mend: `key=value: what is wrong. Fix: ...`."""

    exit_code = 1


class ConfigError(PotstillError, ValueError):
    """A setting is unknown, malformed or impossible."""

    exit_code = 2


class DataError(PotstillError):
    """Data, weights, a cache or a checkpoint is missing, damaged or does not fit."""

    exit_code = 3


class NonFiniteError(PotstillError):
    """A loss or a weight became NaN or infinite."""

    exit_code = 4


class StorageError(PotstillError, OSError):
    """A file or folder cannot be written."""

    exit_code = 5


def nearest(name: str, candidates: Iterable[str], count: int = 3) -> str:
    """Return the `count` candidates most like `name`, for the end of an error message.

    Example:
        >>> nearest("temprature", ["temperature", "weight"])
        'temperature'
    """
    names = list(candidates)
    close = get_close_matches(name, names, n=count, cutoff=0.3) or sorted(names)[:count]
    return ", ".join(close)


class Interrupted(PotstillError):
    """A signal stopped the run at a step's end, after a checkpoint was saved.

    Args:
        signal: its number; the exit code is 128 more.
        step: optimizer steps done.
        path: the checkpoint.
        folder: of the run, as a setting that a shell takes.
    """

    def __init__(self, signal: int, step: int, path: Path, folder: str) -> None:
        self.exit_code = 128 + signal
        super().__init__(
            f"interrupted at step {step}, saved {path}. "
            f"To go on: the same command with {folder} resume=true"
        )
