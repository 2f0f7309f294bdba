"""Listen to named layers of any network, without editing it."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from potstill.errors import ConfigError, nearest
from potstill.models.features.outputs import ModelOutputs
from potstill.models.features.trace import (
    Event,
    ends_in_relu,
    find_pooled,
    find_stages,
    in_eval_mode,
    trace,
)

SIDES = ("output", "input", "preact")
SPECIAL = re.compile(r"(?:(?P<part>.+)\.)?(?P<name>stage-?\d+|pooled)")


@dataclass(frozen=True)
class Source:
    """Where a feature comes from: a module, and whether its output or its input is meant."""

    path: str
    side: str = "output"


class FeatureExtractor:
    """Run a network and return its `ModelOutputs`.

    Names are module paths (`layer3`), or `stage1`, `stage2` ... `stage-1` (the last tensor at
    each resolution, found by probing) and `pooled` (the classifier's input), both also of a
    part of the network (`members.0.stage1`). The empty name is the network itself. A suffix says
    which tensor is meant: `:input`, or `:preact`, the input of the ReLU that ends the layer.
    Of a module called several times the last call counts. Hooks live for one call only, so
    replaced layers are heard and copies of the network carry none.

    Args:
        network: what to run; it takes images (N, C, H, W) and returns logits (N, K).
        names: the features wanted.
        image_shape: (C, H, W) of an image, for the probe.

    Attributes:
        call: how the network is called where no feature is wanted: itself, or its compiled form.

    Raises:
        ConfigError: if a name is no layer of the network.
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
        """Return the signal of a batch of images (N, C, H, W)."""
        if not self.sources:
            return ModelOutputs(self.call(image), {}, sample_id)
        heard: dict[str, tuple[Tensor, int]] = {}
        handles = [self._listen(name, source, heard) for name, source in self.sources.items()]
        try:
            logits = self.network(image)
        finally:
            for handle in handles:
                handle.remove()
        changed = {name for name, (value, version) in heard.items() if value._version != version}
        if changed - self._overwritten:
            # An in-place operation (`out += identity`) reached a tensor we hold: keep copies.
            self._overwritten |= changed
            return self(image, sample_id)
        return ModelOutputs(logits, {name: value for name, (value, _) in heard.items()}, sample_id)

    @torch.no_grad()
    def probe(self) -> ModelOutputs:
        """Return the signal of two black images, for shapes; the network's mode is kept."""
        with in_eval_mode(self.network):
            signal = self(self._example())
        for name, source in self.sources.items():
            if name not in signal.features:
                raise ConfigError(f"layer={name}: {source.path} is never called. Fix: name another")
        return signal

    def _example(self) -> Tensor:
        device = next((p.device for p in self.network.parameters()), torch.device("cpu"))
        return torch.zeros(2, *self.image_shape, device=device)

    def _listen(
        self, name: str, source: Source, heard: dict[str, tuple[Tensor, int]]
    ) -> RemovableHandle:
        module = self.network.get_submodule(source.path)

        def keep(value: Tensor) -> None:
            value = value.clone() if name in self._overwritten else value
            heard[name] = (value, value._version)

        if source.side == "input":
            return module.register_forward_pre_hook(lambda _, args: keep(args[0]))
        return module.register_forward_hook(lambda _, args, output: keep(output))


def resolve(network: nn.Module, name: str, events: list[Event]) -> Source:
    """Return the source a name means in `network`, given what one forward pass called."""
    path, _, side = name.partition(":")
    side = side or "output"
    if side not in SIDES:
        raise ConfigError(f"layer={name}: unknown suffix. Fix: one of {', '.join(SIDES)}")
    paths = {known for known, _ in network.named_modules()}
    if special := SPECIAL.fullmatch(path):
        part = _known(special["part"] or "", name, paths)
        inside = [event for event in events if not part or event.path.startswith(f"{part}.")]
        path = _special(special["name"], inside)
    if path.endswith(":input"):
        return Source(path.removesuffix(":input"), "input")
    if side == "preact":
        relu = ends_in_relu(_known(path, name, paths), events)
        return Source(relu, "input") if relu else Source(path)
    return Source(_known(path, name, paths), side)


def _known(path: str, name: str, paths: set[str]) -> str:
    if path not in paths:
        raise ConfigError(f"layer={name}: no such layer. Fix: nearest are {nearest(path, paths)}")
    return path


def _special(name: str, events: list[Event]) -> str:
    if name == "pooled":
        return f"{find_pooled(events)}:input"
    stages, number = find_stages(events), int(name.removeprefix("stage"))
    if not 1 <= abs(number) <= len(stages):
        listed = ", ".join(f"stage{i + 1}={stage}" for i, stage in enumerate(stages))
        raise ConfigError(f"layer={name}: no such stage. Fix: one of {listed}")
    return stages[number - (number > 0)]
