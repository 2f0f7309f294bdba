"""Float network inside a fake-quantized one, with the weights it has by now."""

import copy

from torch import fx, nn

from potstill.quantization.fake_quantize import ActivationQuantizer
from potstill.quantization.layers import (
    FloatBatchNorm2d,
    FreezableBatchNorm2d,
    QuantConv2d,
    QuantLinear,
)

PLAIN: dict[type[nn.Module], tuple[type[nn.Module], str]] = {
    QuantConv2d: (nn.Conv2d, "faking"),
    QuantLinear: (nn.Linear, "faking"),
    FreezableBatchNorm2d: (nn.BatchNorm2d, "frozen"),
    FloatBatchNorm2d: (nn.BatchNorm2d, "frozen"),
}


def float_form(prepared: fx.GraphModule) -> fx.GraphModule:
    """Return a copy of a network from `prepare` that rounds nothing and has torch's layers."""
    network = copy.deepcopy(prepared)
    for node in list(network.graph.nodes):
        quantizer = node.args[0] if node.op == "call_method" else None
        if isinstance(quantizer, fx.Node) and _is_quantizer(network, quantizer):
            node.replace_all_uses_with(node.args[1])
            network.graph.erase_node(node)
            network.graph.erase_node(quantizer)
    for module in network.modules():
        if (plain := PLAIN.get(type(module))) is not None:
            module.__class__, flag = plain
            delattr(module, flag)
    network.delete_all_unused_submodules()
    network.graph.lint()
    network.recompile()
    return network


def _is_quantizer(network: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "get_attr" and isinstance(
        dict(network.named_modules()).get(str(node.target)), ActivationQuantizer
    )
