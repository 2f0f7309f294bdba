"""Counts of a network: parameters, nonzeros, multiply-accumulates and bytes."""

import gzip
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from potstill.libraries.torch import ConvNd
from potstill.measure.latency import blank_image, latency_ms
from potstill.models.copies import copy_shapes
from potstill.models.features.hooks import hooked
from potstill.models.features.trace import in_eval_mode
from potstill.models.weights import shared_names

INTEGERS = (torch.int8, torch.uint8)
MB = 1e6


def measure_network(net: nn.Module, image_shape: Sequence[int]) -> dict[str, Any]:
    """Return what `net` costs for one image of `image_shape` (C, H, W).

    Keys: `num_parameters`, `macs`, `size_bytes`, `latency_ms` (median) and `latency_p95_ms`,
    both on the CPU. What cannot be measured is None.
    """
    latency = latency_ms(net, image_shape)
    return {
        "num_parameters": count_parameters(net),
        "macs": count_macs(net, image_shape),
        "size_bytes": size_bytes(net),
        "latency_ms": latency.median,
        "latency_p95_ms": latency.p95,
    }


def count_parameters(net: nn.Module) -> int:
    """Return the number of parameters, frozen ones included and shared ones once.

    In an int8 network they are buffers: weights in 8 bits and the biases beside them.
    Scales and zero points, their encoding, are not counted.

    Example:
        >>> count_parameters(nn.Linear(3, 2))
        8
    """
    return sum(tensor.numel() for tensor in _learned(net))


def count_nonzeros(net: nn.Module) -> int:
    """Return how many of what `count_parameters` counts are not zero.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> _ = layer.weight.data[0].zero_()
        >>> count_nonzeros(layer)
        5
    """
    return sum(int(tensor.count_nonzero()) for tensor in _learned(net))


def is_quantized(net: nn.Module) -> bool:
    """Return whether any weight is in 8 bits."""
    return any(tensor.dtype in INTEGERS for tensor in net.buffers())


def count_macs(net: nn.Module, image_shape: Sequence[int]) -> int | None:
    """Return the multiply-accumulates of convolutions and matrix products for one image.

    Additions of biases, normalisation and activations are not counted. None where the
    counter knows no operator of the network.

    Example:
        >>> count_macs(nn.Conv2d(3, 8, 3, padding=1, bias=False), (3, 16, 16))
        55296
    """
    return _all_macs(net, image_shape) or None


class MacCount:
    """`count_macs` of one network at any channel counts, from shapes alone.

    Runs the network once: a layer's MACs are its weights times the places where they are applied,
    and cutting channels moves no place. Products outside of layers (attention) are taken as
    constant.
    """

    def __init__(self, net: nn.Module, image_shape: Sequence[int]) -> None:
        self.places: dict[str, int] = {}
        layers = [(p, m) for p, m in net.named_modules() if isinstance(m, (ConvNd, nn.Linear))]
        count = self._count_places
        with hooked(layer.register_forward_hook(partial(count, path)) for path, layer in layers):
            total = _all_macs(net, image_shape)
        self.outside = 0
        self.outside = total - self(net)

    def __call__(self, net: nn.Module) -> int:
        """Return the MACs of the network, pruned or not, with or without values."""
        layers = ((net.get_submodule(path), places) for path, places in self.places.items())
        return self.outside + sum(_weights(layer) * places for layer, places in layers)

    def _count_places(
        self, path: str, layer: nn.Module, args: tuple[Tensor, ...], output: Tensor
    ) -> None:
        channels = output.shape[1 if isinstance(layer, ConvNd) else -1]
        self.places[path] = self.places.get(path, 0) + output.numel() // channels


def shape_of(net: nn.Module) -> nn.Module:
    """Return a copy of `net` without values (on the meta device)."""
    return copy_shapes(net)


def size_bytes(net: nn.Module) -> int | None:
    """Return the bytes of the safetensors file of `net`'s state, header included.

    Shared tensors count once; values are not read. None where the state holds what safetensors
    cannot keep (packed, sparse or quantized tensors, extra state).
    """
    try:
        return len(save(stored(net)))
    except (KeyError, ValueError):
        return None


def size_mb(net: nn.Module) -> float:
    """Return `size_bytes` in MB (1e6 bytes)."""
    return len(save(stored(net))) / MB


def gzip_bytes(content: bytes, level: int = 9) -> int:
    """Return the bytes of a file's content after gzip: what zeros in it are worth."""
    return len(gzip.compress(content, level, mtime=0))


def stored(net: nn.Module, without: Collection[Tensor] = ()) -> dict[str, Tensor]:
    """Return the tensors of the state's file by name: compact copies, a shared one once.

    Raises:
        ValueError: if the state holds more than dense tensors.
    """
    left_out, others = {id(tensor) for tensor in without}, shared_names(net)
    state = net.state_dict(keep_vars=True)
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided:
            raise ValueError(f"{name}: no dense tensor")
    return {
        name: _compact(value)
        for name, value in state.items()
        if id(value) not in left_out and name not in others
    }


def _learned(net: nn.Module) -> Iterator[Tensor]:
    yield from net.parameters()
    buffers = dict(net.named_buffers())
    for name, tensor in buffers.items():
        if tensor.dtype in INTEGERS:
            yield tensor
            bias = buffers.get(f"{name.rpartition('.')[0]}.bias".lstrip("."))
            if bias is not None:
                yield bias


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Run attention as plain matrix products: the counter takes the CPU's fused kernels for 0."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _all_macs(net: nn.Module, image_shape: Sequence[int]) -> int:
    image = blank_image(net, image_shape)
    counter = FlopCounterMode(display=False)
    with in_eval_mode(net), torch.no_grad(), _plain_attention(), counter:
        net(image)
    return counter.get_total_flops() // 2


def _weights(layer: nn.Module) -> int:
    assert isinstance(layer.weight, Tensor)
    return layer.weight.numel()


def _compact(tensor: Tensor) -> Tensor:
    if tensor.is_meta:
        return torch.empty(tensor.shape, dtype=tensor.dtype)
    return tensor.detach().cpu().clone().contiguous()  # a pruned weight may view a larger one
