"""Places of labels: each side of each layer, and each dimension of a parameter of its own."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from torch import Tensor, nn

from potstill.libraries.torch import ConvNd
from potstill.pruning.channels.coupling.trace import LabelTrace
from potstill.pruning.channels.slicing import CUTTABLE, PER_CHANNEL


@dataclass(frozen=True)
class Place:
    """A side of a layer (or parameter), and the label of each of its channels.

    Args:
        path: of the layer or parameter.
        part: the layer or parameter itself.
        side: "out", "in", or "dim<n>" of a parameter.
        labels: (width,).
    """

    path: str
    part: Any
    side: str
    labels: Tensor

    @property
    def is_filter(self) -> bool:
        """Whether these are the outputs of a convolution or linear layer."""
        return self.side == "out" and isinstance(self.part, (ConvNd, nn.Linear))


def label_parameters(net: nn.Module, trace: LabelTrace) -> list[Place]:
    """Give every dimension of every parameter and buffer labels; shared ones get them once."""
    places: dict[tuple[str, str], Place] = {}
    for path, module in net.named_modules():
        held = module.named_parameters(recurse=False), module.named_buffers(recurse=False)
        for name, tensor in chain(*held):
            for place in _places(path, module, name, tensor, trace):
                first = places.setdefault((place.path, place.side), place)
                trace.labels.tie(first.labels, place.labels)  # weight and bias of one layer
    return list(places.values())


def _places(
    path: str, module: nn.Module, name: str, tensor: Tensor, trace: LabelTrace
) -> Iterator[Place]:
    is_kernel = isinstance(module, ConvNd) and tensor.dim() > 2
    if not trace.is_labelled(tensor):
        sizes = [1 if is_kernel and d > 1 else size for d, size in enumerate(tensor.shape)]
        trace.set(tensor, [trace.labels.fresh(n) if n > 1 else None for n in sizes])
    for dim, labels in enumerate(trace.get(tensor)):
        if not isinstance(labels, Tensor) or getattr(module, "transposed", False):
            continue  # transposed weights have their inputs first; no such layer is cut
        if not isinstance(module, CUTTABLE) or name not in PER_CHANNEL:
            yield Place(".".join(filter(None, (path, name))), tensor, f"dim{dim}", labels)
        elif dim == 0:
            yield Place(path, module, "out", labels)
        else:
            groups = module.groups if isinstance(module, ConvNd) else 1
            yield Place(path, module, "in", labels.repeat(groups))
