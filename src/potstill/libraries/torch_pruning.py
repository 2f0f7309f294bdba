"""Undocumented names of torch-pruning's dependency graph in use."""

from torch_pruning import DependencyGraph, ops

__all__ = ["DependencyGraph", "ops"]
GRAPH = "torch_pruning.DependencyGraph"
NAMES = {
    f"{GRAPH}.build_dependency": ("self", "model", "example_inputs"),
    f"{GRAPH}.get_pruner_of_module": ("self", "module"),
    f"{GRAPH}.get_pruning_group": ("self", "module", "pruning_fn", "idxs"),
    f"{GRAPH}.is_out_channel_pruning_fn": ("self", "fn"),
    f"{GRAPH}.get_out_channels": ("self", "module_or_node"),
    **{
        f"torch_pruning.ops.OPTYPE.{kind}": ()
        for kind in ("CONCAT", "SPLIT", "SLICE", "EXPAND", "RESHAPE", "ELEMENTWISE")
    },
}
