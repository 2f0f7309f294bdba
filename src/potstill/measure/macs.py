"""Multiply-accumulates and parameters from shapes alone: no weight is read."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils.flop_counter import FlopCounterMode

MB = 1e6


def shape_of(net: nn.Module) -> nn.Module:
    """Return a copy of `net` without values (on the meta device)."""
    return copy.deepcopy(net).to("meta")


class MacCount:
    """Multiply-accumulates of one image, for any channel counts of one network.

    Runs the network once: a layer's MACs are its weights times the places where they are applied,
    and cutting channels moves no place. Products outside of layers (attention) are taken as
    constant.
    """

    def __init__(self, net: nn.Module, image_shape: Sequence[int]) -> None:
        self.places: dict[str, int] = {}
        layers = [(p, m) for p, m in net.named_modules() if isinstance(m, (_ConvNd, nn.Linear))]
        handles = [self._listen(path, layer) for path, layer in layers]
        image = torch.zeros(1, *image_shape)  # (1, C, H, W)
        try:
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                net(image)
        finally:
            for handle in handles:
                handle.remove()
        self.outside = 0
        self.outside = counter.get_total_flops() // 2 - self(net)

    def __call__(self, net: nn.Module) -> int:
        """Return the MACs of the network, pruned or not."""
        layers = ((net.get_submodule(path), places) for path, places in self.places.items())
        return self.outside + sum(_weights(layer) * places for layer, places in layers)

    def _listen(self, path: str, layer: nn.Module) -> Any:
        def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            channels = output.shape[1 if isinstance(module, _ConvNd) else -1]
            self.places[path] = self.places.get(path, 0) + output.numel() // channels

        return layer.register_forward_hook(note)


def parameters(net: nn.Module) -> int:
    """Return the number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in net.parameters())


def size_mb(net: nn.Module) -> float:
    """Return the MB (1e6 bytes) of a safetensors file of the state, shared tensors once."""
    first: dict[int, tuple[str, Tensor]] = {}
    for key, value in net.state_dict(keep_vars=True).items():
        first.setdefault(id(value), (key, value))
    state = {key: torch.empty(value.shape, dtype=value.dtype) for key, value in first.values()}
    return len(save(state)) / MB


def _weights(layer: nn.Module) -> int:
    assert isinstance(layer.weight, Tensor)
    return layer.weight.numel()
