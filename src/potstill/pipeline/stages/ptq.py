"""Post-training quantization to int8: activation ranges from a few batches, no training."""

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from potstill.errors import ConfigError
from potstill.pipeline.stages.context import Decision, StageContext
from potstill.pipeline.stages.int8 import Int8Stage
from potstill.quantization.freeze import freeze_observers
from potstill.quantization.observers import activation_quantizers
from potstill.quantization.post_training import calibrate
from potstill.quantization.range_methods import find_range_method
from potstill.quantization.scheme import Scheme

RECORD = "ranges.json"


class StaticQuantization(Int8Stage):
    """Quantize a trained network to int8 with activation ranges from some training images.

    The ranges are in `ranges.json` of the stage's folder.

    Args:
        method: min_max, percentile or mse.
        percent: of the values within the range, with method=percentile; None for 99.99.
        n_batches: to calibrate with.
        bits: 8.
        keep_float: layers that stay in float32, with all that is under them.

    Raises:
        ConfigError: if a setting is unknown or cannot take effect.
    """

    trains: ClassVar[bool] = False

    def __init__(
        self,
        method: str = "min_max",
        percent: float | None = None,
        n_batches: int = 8,
        bits: int = 8,
        keep_float: Sequence[str] = (),
    ) -> None:
        super().__init__(Scheme(bits=bits), keep_float)
        if percent is not None and method != "percentile":
            raise ConfigError(
                f"percent={percent}: has no effect with method={method}. Fix: method=percentile"
            )
        if n_batches < 1:
            raise ConfigError(f"n_batches={n_batches}: too few. Fix: 1 or more")
        self.method = find_range_method(method, 99.99 if percent is None else percent)
        self.n_batches = n_batches

    def apply(self, network: nn.Module, context: StageContext) -> nn.Module:
        """Return the fake-quantized network in eval mode, its ranges covering the images."""
        prepared = self.prepared(network).eval()
        found = context.decided(RECORD, lambda: self._measure(prepared, context))
        quantizers = activation_quantizers(prepared)
        for quantizer, (lo, hi) in zip(quantizers, found["ranges"], strict=True):
            quantizer.set_range(lo, hi)
        freeze_observers(prepared)
        return prepared

    def _measure(self, prepared: nn.Module, context: StageContext) -> Decision:
        device = next(prepared.parameters()).device
        images = [image.to(device) for image, *_ in context.batches(self.n_batches)]
        calibrate(prepared, images, self.method)
        ends = [(q.lo.item(), q.hi.item()) for q in activation_quantizers(prepared)]
        return {"ranges": [list(pair) for pair in ends]}
