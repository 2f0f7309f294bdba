"""Batch-norms folded into what ExecuTorch's own pass cannot fold them into."""

from typing import Any

import torch
from torch import Tensor, fx

ATEN = torch.ops.aten
INPUT, WEIGHT, BIAS, MEAN, VARIANCE, EPSILON = 0, 1, 2, 3, 4, 7  # places of the arguments
GROUPS = 6


def fold_batch_norms(graph_module: fx.GraphModule) -> None:
    """Fold batch-norms into transposed convolutions and batch-norms before them, in place."""
    for node in list(graph_module.graph.nodes):
        source = node.args[INPUT] if node.target is ATEN.batch_norm.default else None
        if source is None or len(source.users) != 1:
            continue
        if source.target is ATEN.batch_norm.default:
            _into_norm(graph_module, source, node)
        elif source.target is ATEN.conv_transpose2d.input:
            _into_transposed(graph_module, source, node)


def _into_norm(graph_module: fx.GraphModule, first: Any, second: Any) -> None:
    """Let the first batch-norm scale and shift as both do."""
    factor, shift = _affine(graph_module, second)
    ones = torch.ones_like(factor)
    weight = _value(graph_module, first.args[WEIGHT], ones) * factor
    bias = _value(graph_module, first.args[BIAS], 0 * ones) * factor + shift
    _write(graph_module, first, second, {WEIGHT: weight, BIAS: bias})


def _into_transposed(graph_module: fx.GraphModule, conv: Any, norm: Any) -> None:
    """Scale output channels of a transposed convolution, whose weight is (C_in, C_out/G, ...)."""
    factor, shift = _affine(graph_module, norm)
    weight = _value(graph_module, conv.args[WEIGHT], factor)
    groups = conv.args[GROUPS] if len(conv.args) > GROUPS else 1
    each = factor.view(groups, 1, -1).expand(-1, len(weight) // groups, -1).flatten(0, 1)
    scaled = weight * each.view(*each.shape, *[1] * (weight.dim() - 2))
    given = conv.args[BIAS] if len(conv.args) > BIAS else None
    bias = _value(graph_module, given, torch.zeros_like(shift)) * factor + shift
    _write(graph_module, conv, norm, {WEIGHT: scaled, BIAS: bias})


def _affine(graph_module: fx.GraphModule, norm: Any) -> tuple[Tensor, Tensor]:
    """Return factor and shift (C,): batch-norm in eval mode is factor * x + shift."""
    mean, variance = (_value(graph_module, norm.args[k], None) for k in (MEAN, VARIANCE))
    factor = torch.rsqrt(variance + norm.args[EPSILON])
    factor = factor * _value(graph_module, norm.args[WEIGHT], torch.ones_like(factor))
    return factor, _value(graph_module, norm.args[BIAS], torch.zeros_like(factor)) - factor * mean


def _value(graph_module: fx.GraphModule, node: Any, otherwise: Any) -> Any:
    """Return the tensor that a step gets from the module, `otherwise` for none."""
    if node is None:
        return otherwise
    owner, _, name = str(node.target).rpartition(".")
    return getattr(graph_module.get_submodule(owner), name).detach()


def _write(graph_module: fx.GraphModule, kept: Any, folded: Any, values: dict[int, Tensor]) -> None:
    args = list(kept.args) + [None] * (max(values) + 1 - len(kept.args))
    with graph_module.graph.inserting_before(kept):
        for place, value in values.items():
            name = f"{kept.name}_folded_{place}"
            graph_module.register_buffer(name, value)
            args[place] = graph_module.graph.get_attr(name)
    kept.args = tuple(args)
    folded.replace_all_uses_with(kept)
    graph_module.graph.erase_node(folded)
