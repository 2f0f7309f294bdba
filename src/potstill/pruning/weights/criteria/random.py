"""Random single weights, the baseline to beat (Mittal et al. 2018, arXiv:1801.10447)."""

import zlib
from typing import ClassVar

import torch
from torch import Tensor

from potstill.config.ranges import Ranges
from potstill.pruning.weights.criteria.base import Criterion


class Random(Criterion):
    """Uniform scores, a function of the seed and the weight's path: the same on every process."""

    ranges: ClassVar[Ranges] = {"seed": "[0, inf)"}

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __call__(self, path: str, weight: Tensor) -> Tensor:
        """Return uniform numbers in [0, 1) of the weight's shape."""
        key = zlib.crc32(f"{self.seed}:{path}".encode())
        return torch.rand(weight.shape, generator=torch.Generator().manual_seed(key))
