"""Post-training quantization to int8: activation ranges from a few batches, no training."""

from collections.abc import Sequence
from typing import ClassVar

from torch import fx, nn

from potstill.artifact.spec import Entry
from potstill.config.ranges import Ranges
from potstill.errors import ConfigError
from potstill.pipeline.stages.context import Decision, StageContext
from potstill.pipeline.stages.int8 import Int8Stage
from potstill.quantization import equalization
from potstill.quantization.bias_correction import correct_biases, set_biases
from potstill.quantization.freeze import freeze_observers
from potstill.quantization.observers import activation_quantizers
from potstill.quantization.post_training import calibrate
from potstill.quantization.range_methods import find_range_method
from potstill.quantization.scheme import Scheme

RECORD = "ranges.json"


class StaticQuantization(Int8Stage):
    """Quantize a trained network to int8 with activation ranges from some training images.

    The ranges, and corrected biases, are in `ranges.json` of the stage's folder.

    Args:
        method: min_max, percentile or mse.
        percent: of the values within the range, with method=percentile; None for 99.99.
        n_batches: to calibrate with.
        bits: 8.
        keep_float: layers that stay in float32, with all that is under them.
        equalize: whether channels are scaled between layers first, to equal ranges of weights.
        bias_correction: whether each layer's bias takes off the shift of its mean by rounding.
        max_drop: points of the main score on validation that int8 may cost before a line warns;
            None for no limit.

    Raises:
        ConfigError: if a setting is unknown or cannot take effect.
    """

    ranges: ClassVar[Ranges] = {
        "method": ("min_max", "percentile", "mse"),
        "percent": "(50, 100]",
        "n_batches": "[1, inf)",
        "bits": (8,),
    }

    trains: ClassVar[bool] = False

    def __init__(
        self,
        method: str = "min_max",
        percent: float | None = None,
        n_batches: int = 8,
        bits: int = 8,
        keep_float: Sequence[str] = (),
        equalize: bool = False,
        bias_correction: bool = False,
        max_drop: float | None = None,
    ) -> None:
        if percent is not None and method != "percentile":
            raise ConfigError(
                f"percent={percent}: has no effect with method={method}. Fix: method=percentile"
            )
        if n_batches < 1:
            raise ConfigError(f"n_batches={n_batches}: too few. Fix: 1 or more")
        found = find_range_method(method, 99.99 if percent is None else percent)
        super().__init__(Scheme(bits=bits), keep_float, max_drop, found)
        self.n_batches = n_batches
        self.equalize, self.bias_correction = equalize, bias_correction

    def apply(self, network: nn.Module, context: StageContext) -> nn.Module:
        """Return the fake-quantized network in eval mode, its ranges covering the images."""
        network = equalization.equalize(network) if self.equalize else network
        prepared = self.prepared(network, context).eval()
        found = context.decided(RECORD, lambda: self._measure(prepared, context))
        quantizers = activation_quantizers(prepared)
        for quantizer, (lo, hi) in zip(quantizers, found["ranges"], strict=True):
            quantizer.set_range(lo, hi)
        if self.bias_correction:
            set_biases(prepared, found["biases"])
        freeze_observers(prepared)
        return prepared

    def _measure(self, prepared: fx.GraphModule, context: StageContext) -> Decision:
        device = next(prepared.parameters()).device
        images = [image.to(device) for image, *_ in context.batches(self.n_batches)]
        calibrate(prepared, images, self.method)
        # Those on one grid have one range.
        ends = [(q.lo.min().item(), q.hi.max().item()) for q in activation_quantizers(prepared)]
        found: Decision = {"ranges": [list(pair) for pair in ends]}
        if self.bias_correction:
            found["biases"] = correct_biases(prepared, images)
        return found

    def describe(self) -> Entry:
        """Return the transform to the int8 network."""
        options = {"equalize": self.equalize, "bias_correction": self.bias_correction}
        return {**super().describe(), **{name: True for name, on in options.items() if on}}
