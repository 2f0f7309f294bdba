"""Quantization scheme, the settings that training and conversion agree on."""

from dataclasses import asdict, dataclass
from typing import Any

from potstill.errors import ConfigError

# The grids of ExecuTorch's XNNPACK backend and of ONNX Runtime: weights symmetric about zero.
WEIGHT_MAX = 127
ACTIVATION_MIN, ACTIVATION_MAX = -128, 127
SMALLEST_ACTIVATION_SCALE = 2.0**-12
SMALLEST_WEIGHT_SCALE = 2.0**-24


@dataclass(frozen=True)
class Scheme:
    """int8: weights symmetric, one scale an output channel; activations affine, one scale each.

    It is the integer-arithmetic scheme of Jacob et al. 2018 (arXiv:1712.05877).

    Args:
        bits: of weights and activations; 8 is what the runtimes execute.
        momentum: share of a new batch in the moving range of an activation, in (0, 1].

    Raises:
        ConfigError: if the runtimes support no such value.
    """

    bits: int = 8
    momentum: float = 0.05

    def __post_init__(self) -> None:
        if self.bits != 8:
            raise ConfigError(
                f"bits={self.bits}: the runtimes execute 8-bit networks only. Fix: bits=8"
            )
        if not 0 < self.momentum <= 1:
            raise ConfigError(
                f"momentum={self.momentum}: not in (0, 1]. Fix: momentum={Scheme.momentum}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain numbers, for JSON."""
        return asdict(self)


INT8 = Scheme()
