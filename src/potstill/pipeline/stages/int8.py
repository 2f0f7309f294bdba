"""Common part of the stages that end in a static int8 network."""

import math
from collections.abc import Sequence

import torch
from torch import fx, nn

from potstill.artifact.spec import Entry
from potstill.artifact.transforms import INT8_STATIC
from potstill.errors import ConfigError
from potstill.export.parity import check_converted
from potstill.pipeline.stages.base import Stage
from potstill.pipeline.stages.context import Decision, StageContext
from potstill.quantization.convert import convert
from potstill.quantization.layer_errors import sensitivity
from potstill.quantization.prepare import prepare
from potstill.quantization.range_methods import RangeMethod, min_max
from potstill.quantization.scheme import Scheme
from potstill.quantization.unprepare import float_form

COST = "int8_cost.json"
BEFORE = "float_validation.json"
IMAGES = 16  # the converted network is compared on
WORST = 3  # layers that a warning names


class Int8Stage(Stage):
    """A stage whose network is fake-quantized by `apply` and int8 after `finalize`.

    The int8 network must compute what the fake-quantized one does, or `finalize` raises
    `DataError`. Where `max_drop` is given and exceeded, a line warns, and names the layers that
    int8 harms most; the run goes on.

    Args:
        scheme: of the integers.
        keep_float: layers that stay in float32, with the batch-norm after each; a name covers
            what is under it.
        max_drop: how much of the main score on validation int8 may cost, in points (of 100, where
            it is a fraction); None for no limit.
        method: of the ranges that the worst layers are found with.

    Raises:
        ConfigError: if `max_drop` is negative.
    """

    def __init__(
        self,
        scheme: Scheme,
        keep_float: Sequence[str] = (),
        max_drop: float | None = None,
        method: RangeMethod = min_max,
    ) -> None:
        if max_drop is not None and not 0 <= max_drop < math.inf:
            raise ConfigError(f"max_drop={max_drop}: no number of points. Fix: max_drop=1")
        self.scheme, self.keep_float = scheme, tuple(keep_float)
        self.max_drop, self.method = max_drop, method
        self._context: StageContext | None = None
        self._before = 0.0

    def prepared(self, network: nn.Module, context: StageContext) -> fx.GraphModule:
        """Return the fake-quantized copy of a network, after its score is noted.

        Raises:
            ConfigError: if nothing in it can be quantized, a name is no layer of it, or `max_drop`
                is given where there is no validation.
        """
        self._context = context
        if self.max_drop is not None and not context.dry_run:
            validate = context.validate
            if validate is None:
                raise ConfigError(
                    f"max_drop={self.max_drop}: there is no validation here. "
                    "Fix: max_drop=null, or a stage of a run"
                )
            self._before = context.decided(BEFORE, lambda: {"points": validate(network)})["points"]
        return prepare(network, self.scheme, self.keep_float, self.trains)

    def finalize(self, network: nn.Module) -> nn.Module:
        """Return the int8 network.

        Raises:
            DataError: if it computes something else than the fake-quantized one.
        """
        int8, context = convert(network), self._context
        if context is not None and not context.dry_run:
            check_converted(network, int8, _noise(context, network))
            if self.max_drop is not None:
                self._weigh(network, int8, context)
        return int8

    def _weigh(self, network: nn.Module, int8: nn.Module, context: StageContext) -> None:
        """Say where int8 costs more than it may, and write it beside the artifact."""
        cost = context.decided(COST, lambda: self._cost(network, int8, context))
        if cost["warning"]:
            context.say(cost["warning"])

    def _cost(self, network: nn.Module, int8: nn.Module, context: StageContext) -> Decision:
        assert context.validate is not None
        assert isinstance(network, fx.GraphModule)
        assert self.max_drop is not None
        drop = self._before - context.validate(int8)
        if drop <= self.max_drop:
            return {"drop": drop, "warning": ""}
        images = context.batches(1)[0][0].to(_device(network))
        errors = sensitivity(float_form(network), images, self.method, self.keep_float)[:WORST]
        shown = ", ".join(f"{error.layer} ({error.sqnr_db:.1f} dB)" for error in errors)
        keep = ", ".join([*self.keep_float, *(error.layer for error in errors)])
        return {
            "drop": drop,
            "warning": f"{context.name}: int8 costs {drop:.2f} points on validation, more than "
            f"max_drop={self.max_drop:g}. Worst layers: {shown}. Fix: keep_float=[{keep}]",
        }

    def describe(self) -> Entry:
        """Return the transform to the int8 network."""
        kept = {"keep_float": list(self.keep_float)} if self.keep_float else {}
        return {"kind": INT8_STATIC, **self.scheme.to_dict(), **kept}


def _noise(context: StageContext, network: nn.Module) -> torch.Tensor:
    """Return images (N, C, H, W) of normal values, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, *context.image_shape, generator=generator)
    return images.to(_device(network))


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
