"""Functional dropout that follows the mode of its network, as modules that do."""

from typing import Any

import torch.nn.functional as F
from torch import fx, nn

MODULES: dict[Any, type[nn.Module]] = {
    F.dropout: nn.Dropout,
    F.dropout1d: nn.Dropout1d,
    F.dropout2d: nn.Dropout2d,
    F.dropout3d: nn.Dropout3d,
    F.alpha_dropout: nn.AlphaDropout,
}
MODE = "mode"
ARGUMENTS = ("input", "p", "training", "inplace")


def mark_dropouts(in_evaluation: fx.Graph, in_training: fx.Graph) -> None:
    """Write `MODE` for the flag of every dropout that is off in one graph and on in the other."""
    for pair in zip(in_evaluation.nodes, in_training.nodes, strict=False):
        if pair[0].target not in MODULES or pair[0].target is not pair[1].target:
            continue
        given = [dict(zip(ARGUMENTS, node.args, strict=False)) | node.kwargs for node in pair]
        if [one.get("training", True) for one in given] == [False, True]:
            for node, one in zip(pair, given, strict=True):
                node.args = (one["input"],)
                node.kwargs = {"p": one.get("p", 0.5), "training": MODE}


def place_dropouts(traced: fx.GraphModule) -> None:
    """Call a module for every dropout that follows the mode."""
    for node in traced.graph.nodes:
        if node.op == "call_function" and node.kwargs.get("training") == MODE:
            path = f"dropouts.{node.name}"
            dropout = MODULES[node.target](node.kwargs["p"])
            traced.add_submodule(path, dropout.train(traced.training))
            node.op, node.target, node.kwargs = "call_module", path, {}
