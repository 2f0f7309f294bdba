"""Rules for layers: elementwise operators, convolutions, matrix products and norms."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from potstill.libraries.torch import tree_leaves
from potstill.pruning.channels.coupling.labels import Axis
from potstill.pruning.channels.coupling.trace import Arguments, LabelTrace, rule


@rule("clone", "_to_copy", "detach", "alias", "copy", "hardswish", "hardsigmoid", "_prelu_kernel",
      "native_dropout", "zeros_like", "ones_like", "lift_fresh", "_weight_norm_interface",
      "fill")  # fmt: skip
def elementwise(trace: LabelTrace, arguments: Arguments, out: Any) -> None:
    """Tie what is combined: channel k of each operand is channel k of the result."""
    out = out[0] if isinstance(out, tuple) else out
    tensors = [value for value in tree_leaves(arguments) if isinstance(value, Tensor)]
    axes: list[Axis] = []
    for dim in range(-out.dim(), 0):
        wide = [t for t in tensors if t.dim() >= -dim]
        met = [(trace.get(t)[dim], t.shape[dim]) for t in wide]
        axes.append(trace.labels.join([a for a, size in met if size > 1 or a is not None]))
    trace.set(out, axes)


@rule("convolution")
def convolution(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Tie the channels read to the weight's second dimension; its first makes new ones."""
    image, weight, bias = arguments["input"], arguments["weight"], arguments["bias"]
    groups, (rows, columns) = arguments["groups"], weight.shape[:2]
    alone = groups > 1 and columns == 1
    if arguments["transposed"] or (alone and rows != groups):
        return trace.fix(image, weight, bias)
    batch, read, *places = trace.get(image)
    made, column = trace.get(weight)[:2]
    trace.labels.fix(*places)
    if alone:
        made = trace.labels.join([read, made])
    else:
        _tie_read(trace, read, column, groups)
        _tie_groups(trace, made, groups)
    if bias is not None:
        made = trace.labels.join([made, *trace.get(bias)])
    return trace.set(out, (batch, made, *[None] * len(places)))


@rule("mm")
def product(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Tie what is summed over."""
    left, right = trace.get(arguments["self"]), trace.get(arguments["mat2"])
    _tie_read(trace, left[1], right[0], 1)
    trace.set(out, (left[0], right[1]))


@rule("addmm")
def product_with_bias(trace: LabelTrace, arguments: Arguments, out: Tensor) -> None:
    """Tie what is summed over, and the bias to what is made."""
    left, right = trace.get(arguments["mat1"]), trace.get(arguments["mat2"])
    _tie_read(trace, left[1], right[0], 1)
    trace.set(out, (left[0], trace.labels.join([right[1], trace.get(arguments["self"])[-1]])))


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training")
def batch_norm(trace: LabelTrace, arguments: Arguments, out: tuple[Tensor, ...]) -> None:
    """Tie the second dimension to scale, shift and statistics."""
    image, *vectors = [value for value in arguments.values() if isinstance(value, Tensor)]
    _normalised(trace, image, 1, vectors, out[0])


@rule("native_layer_norm")
def layer_norm(trace: LabelTrace, arguments: Arguments, out: tuple[Tensor, ...]) -> None:
    """Tie the last dimension to scale and shift; maps that are normalised whole are fixed."""
    image, *vectors = [value for value in arguments.values() if isinstance(value, Tensor)]
    if len(arguments["normalized_shape"]) > 1:
        return trace.fix(image, *vectors)
    return _normalised(trace, image, -1, vectors, out[0])


@rule("native_group_norm")
def group_norm(trace: LabelTrace, arguments: Arguments, out: tuple[Tensor, ...]) -> None:
    """Tie the second dimension to scale and shift, and its groups to each other."""
    image, *vectors = [value for value in arguments.values() if isinstance(value, Tensor)]
    _normalised(trace, image, 1, vectors, out[0])
    _tie_groups(trace, trace.get(image)[1], arguments["group"])


def _tie_read(trace: LabelTrace, read: Axis, column: Axis, groups: int) -> None:
    if isinstance(read, Tensor) and isinstance(column, Tensor):
        trace.labels.tie(read.view(groups, -1), column)
        trace.labels.read.append(column)
    else:
        trace.labels.fix(read, column)


def _tie_groups(trace: LabelTrace, made: Axis, groups: int) -> None:
    if groups > 1 and isinstance(made, Tensor):
        trace.labels.tie(made.view(groups, -1), made[: len(made) // groups])


def _normalised(
    trace: LabelTrace, image: Tensor, dim: int, vectors: Sequence[Tensor], out: Tensor
) -> None:
    axes = list(trace.get(image))
    axes[dim] = trace.labels.join([axes[dim], *(trace.get(vector)[0] for vector in vectors)])
    trace.set(out, axes)
