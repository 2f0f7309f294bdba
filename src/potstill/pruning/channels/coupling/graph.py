"""The coupling of all channels of a network, found by one forward pass with labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from potstill.errors import ConfigError
from potstill.libraries.torch import ConvNd
from potstill.models.features.logits import select_logits, tensors_by_place
from potstill.pruning.channels.coupling import rules  # noqa: F401  registers them
from potstill.pruning.channels.coupling.hooks import label_modules
from potstill.pruning.channels.coupling.labels import FIXED, Labels
from potstill.pruning.channels.coupling.places import Place, label_parameters
from potstill.pruning.channels.coupling.trace import LabelTrace
from potstill.pruning.channels.modes import forward_modes


@dataclass(frozen=True)
class Coupling:
    """Which channels go together.

    Args:
        places: every side of every layer.
        classes: for each label, (count,), the class it is in; those of one class go together.
        free: the classes that can go: read by a layer, and fixed by none.
        order: the paths of convolutions and linear layers, from the logits backwards.
    """

    places: list[Place]
    classes: Tensor
    free: set[int]
    order: list[str]


def trace_coupling(net: nn.Module, image_shape: Sequence[int], output: str) -> Coupling:
    """Return how the channels of `net`, an `eval_copy`, are coupled; its logits are at `output`.

    Raises:
        ConfigError: if the network does not run.
    """
    trace = LabelTrace(Labels())
    places = label_parameters(net, trace)
    makers: dict[Any, str] = {}
    handles = [*label_modules(net, trace, places), *_note_makers(net, makers)]
    order: dict[str, None] = {}
    net.requires_grad_(True)  # the order is read off the graph of autograd
    try:
        for mode in forward_modes(net):
            with torch.enable_grad(), trace:
                found = net(torch.zeros(1, *image_shape))
            returned = [tensor for _, tensor in tensors_by_place(found)]
            # In training a network may return its logits elsewhere, beside those of other heads.
            trace.fix(*([select_logits(found, output)] if mode == "eval" else returned))
            for tensor in returned:
                order |= dict.fromkeys(_backwards(tensor.grad_fn, makers))
    except ConfigError:
        raise
    except Exception as error:  # whatever a network of somebody else's raises
        raise ConfigError(
            f"model={type(net).__name__}: its channels cannot be followed ({_line(error)}). "
            f"Fix: a network that runs on images {tuple(image_shape)} on a CPU"
        ) from error
    finally:
        net.requires_grad_(False)
        for handle in handles:
            handle.remove()
    classes = trace.labels.classes()
    free = set(classes[torch.cat(trace.labels.read)].tolist()) if trace.labels.read else set()
    return Coupling(places, classes, free - {FIXED}, list(order))


def _note_makers(net: nn.Module, makers: dict[Any, str]) -> list[Any]:
    def hook(path: str) -> Any:
        def note(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            if output.grad_fn is not None:
                makers[output.grad_fn] = path

        return note

    layers = [(p, m) for p, m in net.named_modules() if isinstance(m, (ConvNd, nn.Linear))]
    return [module.register_forward_hook(hook(path)) for path, module in layers]


def _backwards(node: Any, makers: dict[Any, str]) -> list[str]:
    """Return the layers that made a tensor, as a walk of its graph meets them, depth first."""
    met, stack = [makers.get(node)], [node]
    visited: set[Any] = set()
    while stack:
        if (node := stack.pop()) is None or node in visited:
            continue
        visited.add(node)
        above = [function for function, _ in node.next_functions]
        met += [makers.get(function) for function in above]
        stack += above
    return [path for path in met if path is not None]


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
