"""Value-preserving rewrites of a torch.export graph that let XNNPACK take all of it."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from potstill.export.xnnpack.batch_norms import fold_batch_norms
from potstill.export.xnnpack.cats import split_cats
from potstill.export.xnnpack.floats import write_floats
from potstill.export.xnnpack.paddings import multiply_paddings
from potstill.export.xnnpack.pools import spell_pools
from potstill.export.xnnpack.shortcut import Shortcut

ATEN = torch.ops.aten
SHAPING = (ATEN.flatten.using_ints, ATEN.view.default, ATEN.reshape.default)
MAPS = [2, 3]  # the dimensions of height and width


def fit_for_xnnpack(graph_module: fx.GraphModule) -> fx.GraphModule:
    """Apply every rewriting below, in place, and return the graph to be exported again."""
    rewritings = (
        write_floats, fold_batch_norms, skip_whole_slices, infer_batch, keep_dimensions,
        spell_hard_sigmoids, spell_pools, split_cats, multiply_paddings, convolve_shortcuts,
    )  # fmt: skip
    for rewrite in rewritings:
        rewrite(graph_module)
        graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
    return graph_module


def skip_whole_slices(graph_module: fx.GraphModule) -> None:
    """Drop the `:` of `x[:, 1:]`, which takes everything."""
    for node in _calls(graph_module, ATEN.slice.Tensor):
        source = node.args[0]
        if source.meta["val"].shape == node.meta["val"].shape:
            node.replace_all_uses_with(source)


def infer_batch(graph_module: fx.GraphModule) -> None:
    """Write -1 for the batch in reshapes: XNNPACK can infer a size, but not be told it later."""
    for node in _calls(graph_module, *SHAPING):
        sizes = [size if isinstance(size, int) else -1 for size in node.meta["val"].shape]
        if sizes.count(-1) == 1:
            # Not a view, which what was permuted may have no strides for.
            node.target = ATEN.reshape.default
            node.args, node.kwargs = (node.args[0], sizes), {}


def keep_dimensions(graph_module: fx.GraphModule) -> None:
    """Average maps with their dimensions kept, then reshape: XNNPACK knows no other mean."""
    for node in _calls(graph_module, ATEN.mean.dim):
        source, dims, *rest = node.args
        value = source.meta["val"]
        if value.dim() != 4 or sorted(d % 4 for d in dims) != MAPS or any(rest) or node.kwargs:
            continue
        with graph_module.graph.inserting_before(node):
            mean = graph_module.graph.call_function(ATEN.mean.dim, (source, MAPS, True))
            flat = graph_module.graph.call_function(ATEN.view.default, (mean, [-1, value.shape[1]]))
        node.replace_all_uses_with(flat)


def spell_hard_sigmoids(graph_module: fx.GraphModule) -> None:
    """Write hard sigmoid as clamp(x + 3, 0, 6) / 6 and hard swish as x times that, in floats.

    ExecuTorch does the same with integers for 3 and 6, and leaves their conversion to float
    outside XNNPACK.
    """
    graph = graph_module.graph
    for node in _calls(graph_module, ATEN.hardsigmoid.default, ATEN.hardswish.default):
        source = node.args[0]
        with graph.inserting_before(node):
            moved = graph.call_function(ATEN.add.Tensor, (source, 3.0))
            gate = graph.call_function(ATEN.clamp.default, (moved, 0.0, 6.0))
            if node.target is ATEN.hardswish.default:
                gate = graph.call_function(ATEN.mul.Tensor, (source, gate))
            new = graph.call_function(ATEN.mul.Tensor, (gate, 1 / 6))
        node.replace_all_uses_with(new)


def convolve_shortcuts(graph_module: fx.GraphModule) -> None:
    """Let a 1x1 convolution take every s-th pixel and add empty channels.

    That is the shortcut without parameters (option A of He et al. 2015, arXiv:1512.03385).
    XNNPACK slices with no step and cannot pad integers; a convolution whose weights are one and
    zero returns the same values, in float and in int8.
    """
    number = 0
    for node in _calls(graph_module, ATEN.slice.Tensor):
        shortcut = Shortcut.at(node)
        if shortcut is not None:
            shortcut.convolve(graph_module, f"shortcut_{number}")
            number += 1


def _calls(graph_module: fx.GraphModule, *targets: Any) -> Iterator[Any]:
    return (n for n in list(graph_module.graph.nodes) if n.target in targets)
