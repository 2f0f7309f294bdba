"""Counts of parameters, nonzeros, multiply-accumulates and bytes on disk."""

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from potstill.measure.latency import blank_image, latency_ms
from potstill.models.features.trace import in_eval_mode

INTEGERS = (torch.int8, torch.uint8)


def measure(net: nn.Module, image_shape: Sequence[int]) -> dict[str, Any]:
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
    """
    return sum(tensor.numel() for tensor in _learned(net))


def count_nonzeros(net: nn.Module) -> int:
    """Return how many of what `count_parameters` counts are not zero."""
    return sum(int(tensor.count_nonzero()) for tensor in _learned(net))


def is_quantized(net: nn.Module) -> bool:
    """Return whether any weight is in 8 bits."""
    return any(tensor.dtype in INTEGERS for tensor in net.buffers())


def count_macs(net: nn.Module, image_shape: Sequence[int]) -> int | None:
    """Return the multiply-accumulates of convolutions and matrix products for one image.

    Additions of biases, normalisation and activations are not counted. None where the
    counter knows no operator of the network.
    """
    image = blank_image(net, image_shape)
    counter = FlopCounterMode(display=False)
    with in_eval_mode(net), torch.no_grad(), _plain_attention(), counter:
        net(image)
    return counter.get_total_flops() // 2 or None


def size_bytes(net: nn.Module) -> int | None:
    """Return the bytes of the safetensors file of `net`'s state, header included.

    Shared tensors count once. None where the state holds what safetensors cannot keep
    (packed, sparse or quantized tensors, extra state).
    """
    try:
        return len(save(_stored(net.state_dict())))
    except (KeyError, ValueError):
        return None


def gzip_bytes(path: Path) -> int:
    """Return the bytes of a file after gzip at its strongest: what zeros in it are worth."""
    return len(gzip.compress(path.read_bytes(), compresslevel=9))


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


def _stored(state: dict[str, Any]) -> dict[str, Any]:
    """Return one compact copy of each tensor: pruned weights may be views of larger ones."""
    if not all(
        isinstance(value, Tensor) and value.layout == torch.strided for value in state.values()
    ):
        raise ValueError("the state holds more than dense tensors")
    first = {(v.data_ptr(), v.shape, v.stride()): name for name, v in reversed(state.items())}
    return {name: state[name].clone().contiguous() for name in first.values()}
