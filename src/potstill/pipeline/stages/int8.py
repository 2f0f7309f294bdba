"""Common part of the stages that end in a static int8 network."""

from collections.abc import Sequence

from torch import fx, nn

from potstill.artifact.spec import Entry
from potstill.artifact.transforms import INT8_STATIC
from potstill.pipeline.stages.base import Stage
from potstill.quantization.convert import convert
from potstill.quantization.prepare import prepare
from potstill.quantization.scheme import Scheme


class Int8Stage(Stage):
    """A stage whose network is fake-quantized by `apply` and int8 after `finalize`.

    Args:
        scheme: of the integers.
        keep_float: layers that stay in float32, with the batch-norm after each; a name covers
            what is under it.
    """

    def __init__(self, scheme: Scheme, keep_float: Sequence[str] = ()) -> None:
        self.scheme, self.keep_float = scheme, tuple(keep_float)

    def prepared(self, network: nn.Module) -> fx.GraphModule:
        """Return the fake-quantized copy of a network.

        Raises:
            ConfigError: if nothing in it can be quantized, or a name is no layer of it.
        """
        return prepare(network, self.scheme, self.keep_float, self.trains)

    def finalize(self, network: nn.Module) -> nn.Module:
        """Return the int8 network."""
        return convert(network)

    def describe(self) -> Entry:
        """Return the transform to the int8 network."""
        kept = {"keep_float": list(self.keep_float)} if self.keep_float else {}
        return {"kind": INT8_STATIC, **self.scheme.to_dict(), **kept}
