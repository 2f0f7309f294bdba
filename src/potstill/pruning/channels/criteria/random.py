"""Random channels, the baseline to beat (Mittal et al. 2018, arXiv:1801.10447)."""

import hashlib
from typing import ClassVar

import torch
from torch import Tensor

from potstill.config.ranges import Ranges
from potstill.pruning.channels.criteria.base import Criterion
from potstill.pruning.channels.groups import ChannelGroup


class Random(Criterion):
    """Uniform scores that depend on the seed and the layer's name, and on nothing else."""

    ranges: ClassVar[Ranges] = {"seed": "[0, inf)"}

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(self, group: ChannelGroup) -> Tensor | None:
        """Return one score a channel."""
        digest = hashlib.sha256(f"{self.seed}:{group.name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        return torch.rand(group.width, generator=generator)
