"""Empirical bias correction: the mean shift that rounding causes, taken off each layer's bias.

Nagel et al. 2019, arXiv:1906.04721, section 4.2 and appendix D.
"""

from collections import Counter
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, fx, nn

from potstill.models.features.hooks import hooked
from potstill.models.features.trace import in_eval_mode
from potstill.quantization.fold_batch_norm import calls
from potstill.quantization.graph.readers import called, only_reader
from potstill.quantization.layers import FreezableBatchNorm2d, QuantConv2d, QuantLinear
from potstill.quantization.observers import set_faking

IMAGES = 256  # in the network at once: a layer waits for the mean of all before it


def add_biases(prepared: fx.GraphModule) -> dict[str, nn.Module]:
    """Return the modules whose bias can be corrected by path, after giving each one.

    A module is the batch-norm of a convolution, or a layer that has none; called once.
    """
    found: dict[str, nn.Module] = {}
    counts = Counter(str(node.target) for node in prepared.graph.nodes)
    for node in calls(prepared, QuantConv2d, QuantLinear):
        reader = only_reader(node, prepared)
        own_norm = type(called(reader, prepared)) is FreezableBatchNorm2d
        end = reader if reader is not None and own_norm else node
        path, module = str(end.target), prepared.get_submodule(str(end.target))
        if counts[path] > 1 or counts[str(node.target)] > 1:
            continue
        found[path] = module
        if isinstance(module, QuantConv2d | QuantLinear) and module.bias is None:
            module.bias = nn.Parameter(torch.zeros_like(module.weight.flatten(1)[:, 0]))
    return found


@torch.no_grad()
def correct_biases(prepared: fx.GraphModule, images: Iterable[Tensor]) -> dict[str, list[float]]:
    """Correct the biases of a calibrated network, in place; return them by name in its state.

    Layer by layer, each after those before it: the mean over the images of what a layer gives,
    channel by channel and before its activation, becomes what it is in float32.

    Args:
        prepared: with its ranges set.
        images: batches (N, C, H, W), of which the first 256 images are used.
    """
    ends, together = add_biases(prepared), torch.cat(list(images))[:IMAGES]
    wanted: dict[str, Tensor] = {}

    def note(path: str, _: nn.Module, args: object, output: Tensor) -> None:
        wanted[path] = _mean(output)

    def correct(path: str, module: nn.Module, args: object, output: Tensor) -> Tensor:
        shift = wanted[path] - _mean(output)
        _add(module, shift)
        return output + _across(shift, output)

    for step, rounds in ((note, False), (correct, True)):
        set_faking(prepared, rounds)
        hooks = (m.register_forward_hook(partial(step, path)) for path, m in ends.items())
        with hooked(hooks), in_eval_mode(prepared):
            prepared(together)
    state = prepared.state_dict()
    return {name: state[name].tolist() for name in map(_bias_name, ends, ends.values())}


def set_biases(prepared: fx.GraphModule, biases: dict[str, list[float]]) -> None:
    """Give a prepared network the biases that `correct_biases` found, in place."""
    add_biases(prepared)
    state = prepared.state_dict()
    for name, values in biases.items():
        state[name].copy_(torch.tensor(values))


def _bias_name(path: str, module: nn.Module) -> str:
    shifts_mean = isinstance(module, nn.BatchNorm2d) and not module.affine
    return f"{path}.{'running_mean' if shifts_mean else 'bias'}"


def _add(module: nn.Module, shift: Tensor) -> None:
    """Add to what a module gives of each channel (C,)."""
    if isinstance(module, nn.BatchNorm2d) and not module.affine:
        spread = (module.get_buffer("running_var") + module.eps).sqrt()
        module.get_buffer("running_mean").sub_(shift * spread)
    else:
        module.get_parameter("bias").add_(shift)


def _channels(output: Tensor) -> int:
    return 1 if output.dim() == 4 else output.dim() - 1


def _mean(output: Tensor) -> Tensor:
    """Return the mean of each channel, (C,): of images (N, C, H, W) or tokens (N, ..., C)."""
    return output.mean([dim for dim in range(output.dim()) if dim != _channels(output)])


def _across(values: Tensor, output: Tensor) -> Tensor:
    shape = [-1 if dim == _channels(output) else 1 for dim in range(output.dim())]
    return values.view(shape)
