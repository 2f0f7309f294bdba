"""Tracing of channel labels through one forward pass, operator by operator."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from potstill.libraries.torch import TorchDispatchMode, named_arguments, tree_leaves
from potstill.pruning.channels.coupling.labels import Axes, Labels, Statistic

Arguments = dict[str, Any]  # of an operator, by the names in its schema
Rule = Callable[["LabelTrace", Arguments, Any], None]
RULES: dict[str, Rule] = {}
NORMING = {  # what norms do to a mean or a variance; a gate, as of a sigmoid, is no norm
    *("add", "sub", "rsub", "mul", "div", "pow", "sqrt", "rsqrt", "reciprocal", "neg", "abs"),
    *("clamp", "clamp_min", "clone", "_to_copy", "detach", "alias", "addcmul", "addcdiv"),
}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for the aten operators of these names; in-place forms follow too."""

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return register


class LabelTrace(TorchDispatchMode):
    """While active, every tensor computed from a labelled one gets labels, by the rule of its op.

    Where an operator has no rule, what it reads is fixed: no such channel will be removed.

    Args:
        labels: the book that ties are written to.
    """

    def __init__(self, labels: Labels) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.labels = labels
        self._axes: dict[int, tuple[Tensor, Axes]] = {}  # tensors are held, so ids stay theirs

    def get(self, tensor: Tensor) -> Axes:
        """Return the labels of each dimension of a tensor."""
        found = self._axes.get(id(tensor))
        return found[1] if found else (None,) * tensor.dim()

    def set(self, tensor: Tensor, axes: Iterable[Any]) -> None:
        """Note the labels of each dimension of a tensor; a dimension of size one has none."""
        kept = [a if n > 1 or not isinstance(a, Tensor) else None
                for a, n in zip(axes, tensor.shape, strict=True)]  # fmt: skip
        self._axes[id(tensor)] = (tensor, tuple(kept))

    def is_labelled(self, tensor: Tensor) -> bool:
        """Return whether any dimension of a tensor has labels."""
        return any(axis is not None for axis in self.get(tensor))

    def fix(self, *tensors: Tensor | None) -> None:
        """Mark every channel of these tensors as not removable."""
        for tensor in tensors:
            if tensor is not None:
                self.labels.fix(*self.get(tensor))

    def fix_statistics(self, *tensors: Tensor) -> None:
        """Fix the channels of means and variances that these tensors hold."""
        axes = [axis for tensor in tensors for axis in self.get(tensor)]
        self.labels.fix(*(axis for axis in axes if isinstance(axis, Statistic)))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        read = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        if any(self.is_labelled(value) for value in read):
            self._apply(func, named_arguments(func, args, kwargs or {}), read, out)
        return out

    def _apply(self, func: Any, arguments: Arguments, read: list[Tensor], out: Any) -> None:
        name = func.overloadpacket.__name__
        name = name if name in RULES else name.removesuffix("_")
        found = RULES.get(name)
        if torch.Tag.pointwise in func.tags:
            found = found or RULES["clone"]
            if name not in NORMING:
                self.fix_statistics(*read)
        if found is None:
            self.fix(*read)
        else:
            found(self, arguments, out)
