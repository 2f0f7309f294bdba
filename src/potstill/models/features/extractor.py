"""Features of named layers of any network, read by forward hooks."""

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from potstill.errors import ConfigError, nearest
from potstill.libraries.torch import version_of
from potstill.models.features.hooks import hook_side, hooked
from potstill.models.features.outputs import ModelOutputs
from potstill.models.features.trace import (
    Event,
    ends_in_relu,
    find_levels,
    find_pooled,
    in_eval_mode,
    trace,
)

SIDES = ("output", "input", "preact")
SPECIAL = re.compile(r"(?:(?P<part>.+)\.)?(?P<name>(?:level|stage)-?\d+|pooled)")

log = logging.getLogger("potstill")


@dataclass(frozen=True)
class FeatureSource:
    """Where a feature comes from: a module, and whether its output or its input is meant."""

    path: str
    side: str = "output"


class FeatureExtractor:
    """Run a network and return its `ModelOutputs`.

    Names are module paths (`layer3`), or `level1`, `level2` ... `level-1` (the last tensor at
    each resolution, found by probing) and `pooled` (the classifier's input), both also of a
    part of the network (`members.0.level1`); a module of that very name comes first. The empty
    name is the network itself. A suffix selects the tensor: `:input`, or `:preact`, the input of
    the ReLU that ends the layer. Of a module called several times the last call counts. Hooks
    live for one call only, so replaced layers are read and copies of the network carry none.

    Args:
        network: what to run; it takes images (N, C, H, W) and returns logits (N, K).
        names: the features wanted.
        image_shape: (C, H, W) of an image, for the probe.

    Attributes:
        call: how the network is called where no feature is wanted: itself, or its compiled form.

    Raises:
        ConfigError: if a name is no layer of the network.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
        >>> extractor = FeatureExtractor(net, ["level-1", "pooled"], image_shape=(3, 8, 8))
        >>> outputs = extractor(torch.zeros(2, 3, 8, 8))
        >>> {name: tuple(feature.shape) for name, feature in outputs.features.items()}
        {'level-1': (2, 4, 6, 6), 'pooled': (2, 144)}
    """

    def __init__(
        self,
        network: nn.Module,
        names: Iterable[str] = (),
        image_shape: tuple[int, ...] = (3, 32, 32),
    ) -> None:
        self.network, self.image_shape = network, tuple(image_shape)
        self.call: Callable[..., Tensor] = network
        self._overwritten: set[str] = set()
        events = trace(network, self._example()) if (names := tuple(dict.fromkeys(names))) else []
        self.sources = {name: resolve(network, name, events) for name in names}

    def __call__(self, image: Tensor, sample_id: Tensor | None = None) -> ModelOutputs:
        """Return logits and features of a batch of images (N, C, H, W)."""
        if not self.sources:
            return ModelOutputs(self.call(image), {}, sample_id)
        found: dict[str, tuple[Tensor, int]] = {}
        with hooked(self._hook(name, source, found) for name, source in self.sources.items()):
            logits = self.network(image)
        changed = {name for name, (value, version) in found.items() if version_of(value) != version}
        if changed - self._overwritten:
            # An in-place operation (`out += identity`) reached a feature: store copies.
            self._overwritten |= changed
            return self(image, sample_id)
        return ModelOutputs(logits, {name: value for name, (value, _) in found.items()}, sample_id)

    @torch.no_grad()
    def probe(self) -> ModelOutputs:
        """Return the outputs for two black images, for shapes; the network's mode stays."""
        with in_eval_mode(self.network):
            outputs = self(self._example())
        for name, source in self.sources.items():
            if name not in outputs.features:
                raise ConfigError(f"layer={name}: {source.path} is never called. Fix: name another")
        return outputs

    def _example(self) -> Tensor:
        device = next((p.device for p in self.network.parameters()), torch.device("cpu"))
        return torch.zeros(2, *self.image_shape, device=device)

    def _hook(
        self, name: str, source: FeatureSource, found: dict[str, tuple[Tensor, int]]
    ) -> RemovableHandle:
        module = self.network.get_submodule(source.path)

        def store(value: Tensor) -> None:
            value = value.clone() if name in self._overwritten else value
            found[name] = (value, version_of(value))

        return hook_side(module, source.side, store)


def resolve(network: nn.Module, name: str, events: list[Event]) -> FeatureSource:
    """Return the source that `name` means in `network`, given the calls of one forward pass."""
    path, _, side = name.partition(":")
    side = side or "output"
    if side not in SIDES:
        raise ConfigError(f"layer={name}: unknown suffix. Fix: one of {', '.join(SIDES)}")
    paths = {known for known, _ in network.named_modules()}
    special = SPECIAL.fullmatch(path)
    if special and path not in paths:
        part = _known(special["part"] or "", name, paths)
        inside = [event for event in events if not part or event.path.startswith(f"{part}.")]
        path = _special(special["name"], inside)
    if path.endswith(":input"):
        return FeatureSource(path.removesuffix(":input"), "input")
    if side == "preact":
        relu = ends_in_relu(_known(path, name, paths), events)
        return FeatureSource(relu, "input") if relu else FeatureSource(path)
    return FeatureSource(_known(path, name, paths), side)


def _known(path: str, name: str, paths: set[str]) -> str:
    if path not in paths:
        raise ConfigError(f"layer={name}: no such layer. Fix: nearest are {nearest(path, paths)}")
    return path


def _special(name: str, events: list[Event]) -> str:
    if name == "pooled":
        return f"{find_pooled(events)}:input"
    if name.startswith("stage"):
        name = _renamed(name)
    levels, number = find_levels(events), int(name.removeprefix("level"))
    if not 1 <= abs(number) <= len(levels):
        listed = ", ".join(f"level{i + 1}={path}" for i, path in enumerate(levels))
        raise ConfigError(f"layer={name}: no such level. Fix: one of {listed}")
    return levels[number - (number > 0)]


@cache  # one warning a name
def _renamed(name: str) -> str:
    new = name.replace("stage", "level")
    log.warning("layer=%s: renamed, and gone in the next release. Fix: layer=%s", name, new)
    return new
