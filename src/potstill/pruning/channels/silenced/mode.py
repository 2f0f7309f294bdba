"""Forward pass of a dense network without some channels: they are NaN, and nothing reads NaN.

What layers compute of absent channels is absent as well; sums run over what is there, and so do
norms. Nothing here knows how channels are coupled: that is what it is to check.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from potstill.libraries.torch import TorchDispatchMode, tree_leaves

Operator = Callable[..., Any]
OPERATORS: dict[str, Operator] = {}


class Mismatch(Exception):
    """A layer reads channels that are absent, or has no weights for channels that are there."""


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Register what aten operators compute where some of their input is absent."""

    def register(function: Operator) -> Operator:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register


def filled(value: Tensor, number: float = 0.0) -> Tensor:
    """Return the tensor with `number` where an entry is absent."""
    return torch.where(value.isnan(), number, value)


def silenced() -> "Silenced":
    """Return the mode to run a dense network in whose absent weights are NaN."""
    return Silenced()  # type: ignore[no-untyped-call]


class Silenced(TorchDispatchMode):
    """While active, operators that read NaN compute what they would without those channels."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = OPERATORS.get(func.overloadpacket.__name__, func)
        if found is not func and not _reads_absent(args, kwargs):
            found = func
        return found(*args, **(kwargs or {}))


def _reads_absent(args: Any, kwargs: Any) -> bool:
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    small_first = sorted(tensors, key=Tensor.numel)  # mostly a weight tells
    return any(t.is_floating_point() and bool(t.sum().isnan()) for t in small_first)
