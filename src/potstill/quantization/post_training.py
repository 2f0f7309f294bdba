"""Static post-training quantization: activation ranges from a few batches, no gradient."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from potstill.data.loaders.calibration import calibration_batches
from potstill.models.features.hooks import hook_side, hooked
from potstill.models.features.trace import in_eval_mode
from potstill.quantization import equalization
from potstill.quantization.bias_correction import correct_biases
from potstill.quantization.freeze import freeze_observers
from potstill.quantization.observers import activation_quantizers, set_faking
from potstill.quantization.prepare import prepare
from potstill.quantization.range_methods import (
    Histogram,
    RangeMethod,
    count,
    min_max,
)
from potstill.quantization.scheme import INT8, Scheme


def quantize_static(
    network: nn.Module,
    batches: Iterable[Any],
    method: RangeMethod = min_max,
    n_batches: int = 8,
    scheme: Scheme | None = None,
    keep_float: Sequence[str] = (),
    equalize: bool = False,
    bias_correction: bool = False,
) -> nn.Module:
    """Return a fake-quantized copy in eval mode whose ranges cover the images; then `convert` it.

    Batches are images (N, C, H, W), or tuples that begin with them (or with views of them);
    the first `n_batches` are held in memory and run twice. The ranges are those of the network
    in float, so they do not depend on the order of its layers.

    Args:
        network: in float32.
        batches: to calibrate with.
        method: of the ranges.
        n_batches: how many of `batches`.
        scheme: of the integers.
        keep_float: layers that stay in float32; see `prepare`.
        equalize: whether to scale channels between layers first; see `equalization`.
        bias_correction: whether to take off the shift of means that rounding causes; see
            `bias_correction`.

    Raises:
        ConfigError: if there is no batch, nothing to quantize or equalise, or a name is no layer.
    """
    images = [image for image, *_ in calibration_batches(batches, n_batches)]
    network = equalization.equalize(network) if equalize else network
    prepared = prepare(network, scheme or INT8, keep_float, trains=False).eval()
    device = next(prepared.parameters()).device
    images = [image.to(device) for image in images]
    calibrate(prepared, images, method)
    if bias_correction:
        correct_biases(prepared, images)
    return prepared


@torch.no_grad()
def calibrate(prepared: nn.Module, images: Iterable[Tensor], method: RangeMethod = min_max) -> None:
    """Set the range of every activation quantizer, in place, and freeze its observer.

    `images` are iterated twice.
    """
    ends: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    counts: dict[nn.Module, Tensor] = {}

    def see_ends(quantizer: nn.Module, x: Tensor) -> None:
        lo, hi = torch.aminmax(x.float())
        before = ends.get(quantizer, (lo, hi))
        ends[quantizer] = torch.minimum(lo, before[0]), torch.maximum(hi, before[1])

    def see_counts(quantizer: nn.Module, x: Tensor) -> None:
        counted = count(x, *ends[quantizer])
        counts[quantizer] = counts[quantizer] + counted if quantizer in counts else counted

    set_faking(prepared, False)
    for see in (see_ends, see_counts):
        _watch(prepared, images, see)
    set_faking(prepared, True)
    for quantizer in activation_quantizers(prepared):
        lo, hi = ends[quantizer]
        quantizer.set_range(*method(Histogram(counts[quantizer], lo.cpu(), hi.cpu())))
    freeze_observers(prepared)


def _watch(
    prepared: nn.Module, images: Iterable[Tensor], see: Callable[[nn.Module, Tensor], None]
) -> None:
    """Run the network, and call `see` with every tensor that a quantizer is given."""
    quantizers = activation_quantizers(prepared)
    with (
        hooked(hook_side(one, "input", partial(see, one)) for one in quantizers),
        in_eval_mode(prepared),
    ):
        for image in images:
            prepared(image)
