"""Check that a runtime computes an int8 network's layers in int8."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import fx, nn

from potstill.errors import DataError
from potstill.quantization.convert import is_converted

LAYERS = (nn.Conv2d, nn.Linear)
FUNCTIONS: dict[type, Callable[..., Any]] = {
    nn.Conv1d: F.conv1d,
    nn.Conv2d: F.conv2d,
    nn.Conv3d: F.conv3d,
    nn.Linear: F.linear,
}


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
    kept = float_calls(network, layers)
    if is_converted(network) and in_float > kept:
        raise DataError(
            f"{key}: {runtime} computes {in_float - kept} layers in float32, not in int8. "
            "Fix: another export, or a network of other layers"
        )


def float_calls(network: nn.Module, layers: tuple[type, ...] = LAYERS) -> int:
    """Return how many calls of `layers`, and of their functions, a network keeps in float32."""
    steps = list(network.graph.nodes) if isinstance(network, fx.GraphModule) else []
    called = Counter(str(step.target) for step in steps if step.op == "call_module")
    kept = {path for path, module in network.named_modules() if isinstance(module, layers)}
    functions = [FUNCTIONS[layer] for layer in layers]
    by_function = sum(step.target in functions for step in steps)
    return by_function + sum(max(1, called[path]) for path in kept)
