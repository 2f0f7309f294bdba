"""Location of a head's probed features in a network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from potstill.heads.common.shapes import to_map
from potstill.models.features.extractor import FeatureExtractor, FeatureSource
from potstill.models.features.outputs import ModelOutputs
from potstill.models.features.trace import RELUS, Event, trace

STRIDES = (4, 8, 16, 32, 2, 1, 14, 64)
SIDES = (32, 224, 64, 28, 16, 8, 96, 128, 256, 384)
MAX_SIDE = 512


@dataclass(frozen=True)
class Located:
    """Sources of named features, and the calls of one forward pass."""

    sources: dict[str, FeatureSource]
    events: list[Event]

    def last_linear(self) -> nn.Linear | None:
        """Return the linear layer that was called last."""
        linear = [event.module for event in self.events if isinstance(event.module, nn.Linear)]
        return linear[-1] if linear else None

    def norm_before(self, name: str, width: int) -> nn.BatchNorm2d | None:
        """Return the batch-norm of `width` channels that led to a feature, since the ReLU before.

        The first one where there are two: a shortcut's is computed after the main branch's.
        """
        source = self.sources[name]
        end = max(k for k, event in enumerate(self.events) if event.path == source.path)
        found: list[nn.BatchNorm2d] = []
        for event in reversed(self.events[: end + (source.side == "output")]):
            norm = event.module
            if isinstance(norm, RELUS):
                return found[-1] if found else None
            if isinstance(norm, nn.BatchNorm2d) and norm.affine and norm.num_features == width:
                found.append(norm)
        # No ReLU is a module here, so the start of the last block is unknown.
        return found[0] if found else None


def locate(network: nn.Module, outputs: ModelOutputs, names: Sequence[str]) -> Located:
    """Return where the features `names` of probed outputs come from.

    The layer of `level-1` depends on the image's size, which outputs do not hold: squares are
    tried until one gives these features, or else these shapes.

    Raises:
        ValueError: if none does.
    """
    channels = next((m.in_channels for m in network.modules() if isinstance(m, nn.Conv2d)), 3)
    alike = None
    for side in dict.fromkeys(_candidates([outputs.features[name] for name in names])):
        try:
            extractor = FeatureExtractor(network, names, (channels, side, side))
            found = extractor.probe()
        except (RuntimeError, ValueError, AssertionError, IndexError):
            continue  # the network takes no images of this size
        if _equal(found, outputs, names):
            alike = extractor
            break
        if alike is None and _alike(found, outputs, names):
            alike = extractor
    if alike is None:
        listed = ", ".join(f"{n} {tuple(outputs.features[n].shape[1:])}" for n in names)
        raise ValueError(f"no square image gives {listed}. Fix: use square images")
    black = torch.zeros(2, *alike.image_shape, device=outputs.logits.device)
    return Located(alike.sources, trace(network, black))


def _alike(found: ModelOutputs, wanted: ModelOutputs, names: Sequence[str]) -> bool:
    return all(found.features[n].shape[1:] == wanted.features[n].shape[1:] for n in names)


def _equal(found: ModelOutputs, wanted: ModelOutputs, names: Sequence[str]) -> bool:
    return all(torch.equal(found.features[n], wanted.features[n]) for n in names)


def _candidates(features: Sequence[Tensor]) -> Iterator[int]:
    for feature in features:
        side = to_map(feature).shape[-1]
        if side > 1:
            yield from (side * stride for stride in STRIDES if side * stride <= MAX_SIDE)
    yield from SIDES
