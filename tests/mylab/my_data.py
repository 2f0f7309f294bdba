"""Stripes, upright or lying."""

import torch
from torch import Tensor
from torch.utils.data import Dataset


class Stripes(Dataset[tuple[Tensor, int]]):
    """Noisy stripes, upright (label 0) or lying (label 1)."""

    classes = ("upright", "lying")

    def __init__(self, count: int, side: int = 16) -> None:
        self.count, self.side = count, side

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        """Return (image (side, side) in [0, 1], label)."""
        noise = torch.Generator().manual_seed(position)
        upright = (torch.arange(self.side) % 4 < 2).float().expand(self.side, -1)
        image = 0.5 * upright + 0.5 * torch.rand(self.side, self.side, generator=noise)
        return (image.T if position % 2 else image), position % 2
