"""Private names of ExecuTorch in use."""

from typing import Any

NAMES = {"executorch.extension.pybindings.portable_lib._unsafe_reset_threadpool": ()}


def set_threads(bindings: Any, threads: int) -> None:
    """Have ExecuTorch's `portable_lib` compute on so many threads."""
    bindings._unsafe_reset_threadpool(threads)
