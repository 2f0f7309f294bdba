"""Dynamic int8 of linear layers after training: no images, no training."""

import logging
from typing import ClassVar

from torch import nn

from potstill.artifact.spec import Entry
from potstill.artifact.transforms import INT8_DYNAMIC
from potstill.pipeline.stages.base import Stage
from potstill.pipeline.stages.context import StageContext
from potstill.quantization.dynamic import quantize_dynamic

log = logging.getLogger("potstill")


class DynamicQuantization(Stage):
    """Quantize the weights of linear layers to int8, their inputs as they come."""

    trains: ClassVar[bool] = False

    def apply(self, network: nn.Module, context: StageContext) -> nn.Module:
        """Return the int8 network, a copy in eval mode."""
        quantized, share = quantize_dynamic(network)
        if not context.dry_run:
            log.info("dynamic int8 reached %.1f %% of the parameters", 100 * share)
        return quantized

    def describe(self) -> Entry:
        """Return the transform to the int8 network."""
        return {"kind": INT8_DYNAMIC}
