"""Networks whose layers can be seen and changed: no compiled, scripted or quantized ones."""

from collections.abc import Callable

import torch
from torch import nn

from potstill.errors import ConfigError
from potstill.libraries.torch import is_compiled

QUANTIZERS = ("torch.ao.", "torchao.")  # packages of other people's quantized layers


def check_plain(
    network: nn.Module,
    key: str,
    verb: str,
    is_quantized: Callable[[nn.Module], bool] = lambda _: False,
) -> None:
    """Raise where a module of `network` is compiled, TorchScript or quantized.

    Args:
        network: what is to be changed.
        key: of it, for messages.
        verb: what is to be done to it: "prune", "train", "quantize".
        is_quantized: of a module, beside those of torch's own quantizers.

    Raises:
        ConfigError: naming the module.
    """
    for path, module in network.named_modules():
        foreign = type(module).__module__.startswith(QUANTIZERS)
        if isinstance(module, torch.jit.ScriptModule):
            reason = f"a TorchScript module, whose layers are fixed. Fix: {verb} its original"
        elif is_compiled(module):
            reason = f"compiled for the layers it has. Fix: {verb} first, then torch.compile"
        elif foreign or is_quantized(module):
            reason = f"quantized, with scales for what it has. Fix: {verb} first, then quantize"
        else:
            continue
        where = f"{path} is " if path else "is "
        raise ConfigError(f"{key}={type(network).__name__}: {where}{reason}")
