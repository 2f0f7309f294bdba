"""Rules for sums, lengths, means and variances over channels."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from potstill.pruning.channels.coupling.labels import ONE, Axis, Statistic
from potstill.pruning.channels.coupling.trace import Arguments, LabelTrace, rule


@rule("sum", "linalg_vector_norm", "norm")
def total(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Drop what is summed over: a channel that is gone adds nothing."""
    axes, gone = _reduced(trace, arguments)
    trace.labels.fix(*(axes[dim] for dim in gone if isinstance(axes[dim], Statistic)))
    kept = [ONE if dim in gone else axis for dim, axis in enumerate(axes)]
    same = out.dim() == len(axes)
    trace.set(out, kept if same else [a for dim, a in enumerate(kept) if dim not in gone])


@rule("mean", "var", "std", "var_mean", "amax", "amin")
def statistic(trace: LabelTrace, arguments: Arguments, out: Any) -> None:
    """Make a norm's `Statistic` of what is averaged over, if the dimension is kept."""
    axes, gone = _reduced(trace, arguments)
    for result in out if isinstance(out, tuple) else (out,):
        if result.dim() == len(axes):
            trace.set(result, [_statistic(a) if d in gone else a for d, a in enumerate(axes)])
        else:
            trace.labels.fix(*(axes[dim] for dim in gone))
            trace.set(result, [axis for dim, axis in enumerate(axes) if dim not in gone])


def _reduced(trace: LabelTrace, arguments: Arguments) -> tuple[Sequence[Axis], set[int]]:
    image: Tensor = arguments["self"]
    dims = arguments.get("dim")
    named = range(image.dim()) if not dims and dims != 0 else [dims] if dims == 0 else dims
    return trace.get(image), {dim % image.dim() for dim in named}


def _statistic(axis: Axis) -> Axis:
    return Statistic(axis) if isinstance(axis, Tensor) else axis
