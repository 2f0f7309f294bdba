"""Rules for the order and shape of dimensions: views, transposes, repetition, flips."""

from typing import Any

from torch import Tensor

from potstill.pruning.channels.coupling.labels import ONE, Axis
from potstill.pruning.channels.coupling.reshape import regroup, reshaped
from potstill.pruning.channels.coupling.trace import Arguments, LabelTrace, rule


@rule("view", "_unsafe_view", "squeeze", "unsqueeze")
def view(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Carry labels through a reshape."""
    image = arguments["self"]
    trace.fix_statistics(image)
    axes = [axis if isinstance(axis, Tensor) else None for axis in trace.get(image)]
    made: list[Axis] = [None] * out.dim()
    for inside, outside in regroup(image.shape, out.shape):
        before, after = [image.shape[d] for d in inside], [out.shape[d] for d in outside]
        found = reshaped(trace.labels, [axes[d] for d in inside], before, after)
        for dim, axis in zip(outside, found, strict=True):
            made[dim] = axis
    trace.set(out, made)


@rule("permute")
def permute(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Reorder dimensions."""
    axes = trace.get(arguments["self"])
    trace.set(out, [axes[dim] for dim in arguments["dims"]])


@rule("transpose", "t")
def transpose(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Swap two dimensions."""
    axes = list(trace.get(arguments["self"]))
    first, second = arguments.get("dim0", 0), arguments.get("dim1", -1)
    axes[first], axes[second] = axes[second], axes[first]
    trace.set(out, axes)


@rule("as_strided")
def restride(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Keep labels where the sizes stay: pooling in channels-last order sets strides alone."""
    axes = trace.get(arguments["self"])
    if len(axes) == out.dim() and arguments["self"].shape == out.shape:
        trace.set(out, axes)
    else:
        trace.labels.fix(*axes)


@rule("expand")
def expand(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Keep labels; a number that is spread over channels is one for all of them."""
    axes = trace.get(arguments["self"])
    before = [1] * (out.dim() - len(axes)) + list(arguments["self"].shape)
    spread = zip([None] * (out.dim() - len(axes)) + list(axes), before, out.shape, strict=True)
    trace.set(out, [ONE if a is None and n == 1 < m else a for a, n, m in spread])


@rule("repeat")
def repeat(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Repeat labels with what they label."""
    axes = trace.get(arguments["self"])
    spread = [None] * (out.dim() - len(axes)) + list(axes)
    times = zip(spread, arguments["repeats"], strict=True)
    trace.set(out, [a.repeat(n) if isinstance(a, Tensor) else a for a, n in times])


@rule("flip")
def flip(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Reverse labels with what they label."""
    turned = {dim % out.dim() for dim in arguments["dims"]}
    axes = enumerate(trace.get(arguments["self"]))
    trace.set(out, [a.flip(0) if d in turned and isinstance(a, Tensor) else a for d, a in axes])


@rule("roll", "select", "unbind", "index_select", "gather", "cumsum", "_softmax", "_log_softmax",
      "unfold", "sort")  # fmt: skip
def fixed_places(trace: LabelTrace, arguments: Arguments, out: Any) -> None:
    """Fix the dimension worked on: its places are counted, or every channel sees every other."""
    axes = list(trace.get(arguments["self"]))
    dims = next(arguments[name] for name in ("dims", "dim", "dimension") if name in arguments)
    worked = {dim % len(axes) for dim in (dims if isinstance(dims, (list, tuple)) else [dims])}
    trace.labels.fix(*(axes[dim] for dim in worked))
    kept = [None if dim in worked else axis for dim, axis in enumerate(axes)]
    for result in out if isinstance(out, (list, tuple)) else (out,):
        if result.dim() == len(axes):
            trace.set(result, kept)
        elif result.dim() == len(axes) - 1:
            trace.set(result, [axis for dim, axis in enumerate(axes) if dim not in worked])
        else:
            trace.labels.fix(*kept)
