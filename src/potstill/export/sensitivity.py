"""How far the logits of a network in integers move when it is rounded a little differently."""

import copy

import torch
from torch import Tensor, fx, nn

from potstill.quantization.deployed import DeployedConv2d, DeployedLinear, DeployedQuantizer


@torch.no_grad()
def nudged(network: nn.Module) -> nn.Module:
    """Return a copy of a deployed network whose biases are half an accumulator's step away.

    Runtimes add products of integers, and round each bias to the same step: the input's scale
    times the weight's. That alone changes some values by one, and each changes others after it.
    How many depends on the network: one with logits far apart does not notice, an untrained
    MobileNetV2 keeps no more than 13 dB. A sound file strays no more than this copy does.
    """
    network = copy.deepcopy(network)
    assert isinstance(network, fx.GraphModule)
    for node in network.graph.nodes:
        layer = network.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, (DeployedConv2d, DeployedLinear)) and layer.bias is not None:
            step = _input_scale(network, node.args[0]) * layer.scale
            layer.bias += 0.5 * step * _signs(step)
    return network


def _input_scale(network: fx.GraphModule, source: fx.Node) -> Tensor:
    """Return the scale of the quantizer that gives a layer its input, zero if there is none."""
    path = next((n.target for n in source.all_input_nodes if n.op == "get_attr"), None)
    quantizer = network.get_submodule(str(path)) if path else None
    return quantizer.scale if isinstance(quantizer, DeployedQuantizer) else torch.zeros(())


def _signs(like: Tensor) -> Tensor:
    """Return +1, -1, +1 ... (C,): up and down by turns, so that layers do not drift."""
    return 1 - 2.0 * (torch.arange(len(like)) % 2)
