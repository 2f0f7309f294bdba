"""Check that a runtime computes an int8 network's layers in int8."""

from torch import nn

from potstill.errors import DataError
from potstill.quantization.convert import is_converted

LAYERS = (nn.Conv2d, nn.Linear)


def check_in_int8(
    network: nn.Module, in_float: int, key: str, runtime: str, layers: tuple[type, ...] = LAYERS
) -> None:
    """Raise DataError where more layers run in float32 than the network itself keeps in float32.

    Args:
        network: what a file was made from; one that is not int8 passes.
        in_float: how many of its `layers` the runtime computes in float32.
        key: the setting to name.
        runtime: its name.
        layers: the kinds that were counted.
    """
    kept = sum(isinstance(module, layers) for module in network.modules())
    if is_converted(network) and in_float > kept:
        raise DataError(
            f"{key}: {runtime} computes {in_float - kept} layers in float32, not in int8. "
            "Fix: another export, or a network of other layers"
        )
