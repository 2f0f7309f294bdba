"""Frozen teacher, in eval mode and outside the module tree."""

from types import MethodType

import torch
from torch import nn

from potstill.integrity.tensors import sha256_of_state


class FrozenTeacher:
    """Hold a network so that Lightning, optimizers, EMA and checkpoints cannot see it.

    It is no `nn.Module` on purpose: an attribute of this type is in no `parameters()`,
    `state_dict()` or `train()` of the module that holds it.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.requires_grad_(False).eval()
        for module in network.modules():
            module.train = MethodType(_stay_in_eval, module)  # type: ignore[method-assign]

    def to(self, device: torch.device) -> None:
        """Move the network to `device`."""
        self.network.to(device)

    def check_eval(self) -> None:
        """Raise if any part of the teacher has been put in train mode or unfrozen."""
        unfrozen = [name for name, module in self.network.named_modules() if module.training]
        trained = [name for name, p in self.network.named_parameters() if p.requires_grad]
        if unfrozen or trained:
            raise RuntimeError(
                f"the teacher must stay frozen in eval mode: {(unfrozen + trained)[:3]}"
            )

    @property
    def sha256(self) -> str:
        """The hash of every weight and buffer, by name."""
        return sha256_of(self.network)


def _stay_in_eval(module: nn.Module, mode: bool = True) -> nn.Module:
    return module


def sha256_of(network: nn.Module) -> str:
    """Return the sha256 over the names, types, shapes and bytes of a network's state."""
    return sha256_of_state(network.state_dict())
