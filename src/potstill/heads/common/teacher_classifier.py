"""Frozen copy of a teacher's last linear layer."""

import torch
from torch import Tensor, nn

from potstill.heads.common.locate import locate
from potstill.heads.common.shapes import to_pooled
from potstill.models.features.outputs import ModelOutputs


def copy_classifier(network: nn.Module, outputs: ModelOutputs, layer: str, head: str) -> nn.Linear:
    """Return a frozen copy of the linear layer that makes a network's logits of a pooled layer.

    Args:
        network: the teacher.
        outputs: its probed outputs.
        layer: name of the layer whose average over positions the classifier reads.
        head: name for the message.

    Raises:
        ValueError: if the logits are not one linear layer over the pooled layer.
    """
    linear = locate(network, outputs, [layer]).last_linear()
    feature = to_pooled(outputs.features[layer])
    if linear is None or not _gives(linear, feature, outputs.logits):
        raise ValueError(
            f"{head}: the teacher's logits are not its last linear layer over the pooled "
            f"layer {layer!r} {tuple(outputs.features[layer].shape)}. Fix: teacher=pooled"
        )
    copied = nn.Linear(linear.in_features, linear.out_features)
    bias = torch.zeros_like(copied.bias) if linear.bias is None else linear.bias
    copied.load_state_dict({"weight": linear.weight.detach(), "bias": bias.detach()})
    return copied.requires_grad_(False).to(outputs.logits.device)


def _gives(linear: nn.Linear, feature: Tensor, logits: Tensor) -> bool:
    if feature.shape[1] != linear.in_features or logits.shape[1] != linear.out_features:
        return False
    with torch.no_grad():
        found = linear(feature.to(linear.weight))
    return torch.allclose(found, logits.to(found), rtol=1e-2, atol=1e-2 * float(found.std()))
