"""Levels of a network, the last tensor at each resolution, found by one traced forward pass."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from potstill.errors import ConfigError
from potstill.models.features.hooks import hooked

RELUS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.Hardswish, nn.SiLU, nn.GELU)
AVERAGES = (nn.AdaptiveAvgPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Event:
    """One finished call of a module during a forward pass."""

    path: str
    module: nn.Module
    output: Tensor


class in_eval_mode:
    """Put every module in eval mode for a while, then give each its own mode back."""

    def __init__(self, network: nn.Module) -> None:
        self.modes = {module: module.training for module in network.modules()}

    def __enter__(self) -> None:
        for module in self.modes:
            module.training = False

    def __exit__(self, *_: object) -> None:
        for module, mode in self.modes.items():
            module.training = mode


@torch.no_grad()
def trace(network: nn.Module, image: Tensor) -> list[Event]:
    """Return the calls of one forward pass in the order in which they finished."""
    events: list[Event] = []

    def collect(path: str, module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        if isinstance(output, Tensor):
            events.append(Event(path, module, output))

    layers = [(path, module) for path, module in network.named_modules() if path]
    with (
        hooked(module.register_forward_hook(partial(collect, path)) for path, module in layers),
        in_eval_mode(network),
    ):
        network(image)
    return events


def find_levels(events: list[Event]) -> list[str]:
    """Return the paths of the levels, early to late.

    For maps, the outermost module that finished last at each resolution above 1x1; for
    token sequences, the blocks at each quarter of the depth.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Flatten())
        >>> find_levels(trace(net, torch.zeros(1, 3, 8, 8)))
        ['0', '1']
    """
    spatial = [e for e in events if e.output.dim() >= 3 and not isinstance(e.module, AVERAGES)]
    if spatial and spatial[-1].output.dim() == 3:
        return _token_levels(spatial)
    last: dict[tuple[int, ...], str] = {}
    for event in spatial:
        size = tuple(event.output.shape[2:])
        if len(size) == 2 and max(size) > 1:
            last[size] = event.path
    return list(last.values())


def _token_levels(events: list[Event]) -> list[str]:
    groups: dict[tuple[str, type], list[str]] = {}
    for event in events:
        if event.output.dim() == 3:
            siblings = groups.setdefault((event.path.rpartition(".")[0], type(event.module)), [])
            siblings.append(event.path)
    blocks = max(groups.values(), key=lambda paths: (len(paths), -paths[0].count(".")))
    count = min(4, len(blocks))
    return [blocks[len(blocks) * (k + 1) // count - 1] for k in range(count)]


def find_pooled(events: list[Event]) -> str:
    """Return the path of the last linear layer: its input is the pooled feature."""
    linear = [event.path for event in events if isinstance(event.module, nn.Linear)]
    if not linear:
        raise ConfigError("layer=pooled: the network has no linear classifier. Fix: name a layer")
    return linear[-1]


def ends_in_relu(path: str, events: list[Event]) -> str | None:
    """Return the path of the activation whose output is the output of `path`, if there is one."""
    output = next((event.output for event in reversed(events) if event.path == path), None)
    relus = [e.path for e in events if e.output is output and isinstance(e.module, RELUS)]
    return relus[-1] if relus else None
