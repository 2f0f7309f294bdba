"""Masked generative distillation (MGD, Yang et al. 2022, arXiv:2205.01529)."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.heads.base import Head, Layers
from potstill.heads.common.adapters import Adapters, Shape, map_pairs, match_size, need_layers
from potstill.heads.common.counted_step import Counted, counted_generator
from potstill.heads.common.schedules import Schedule
from potstill.models.features.outputs import ModelOutputs


def generation_loss(generated: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared error summed over a map and averaged over the batch; (N, C, H, W)."""
    return (generated - teacher).square().sum() / len(teacher)


def draw_mask(feature: Tensor, ratio: float, mask: str, generator: torch.Generator) -> Tensor:
    """Return zeros with probability `ratio`, else ones: (N, C, 1, 1), or (N, 1, H, W) of pixels."""
    num, channels, height, width = feature.shape
    shape = (num, channels, 1, 1) if mask == "channel" else (num, 1, height, width)
    drawn = torch.rand(shape, generator=generator, device=feature.device)
    return (drawn >= ratio).to(feature.dtype)


class Generation(nn.Module):
    """Align the width (1x1 convolution, where it differs), mask, then convolve, ReLU, convolve."""

    def __init__(self, student: Shape, teacher: Shape) -> None:
        super().__init__()
        width, target = student[0], teacher[0]
        self.align = nn.Identity() if width == target else nn.Conv2d(width, target, 1)
        self.generate = nn.Sequential(
            nn.Conv2d(target, target, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(target, target, 3, padding=1),
        )

    def forward(self, feature: Tensor, mask: Tensor) -> Tensor:
        """Return the generated map (N, target, H, W); `mask` broadcasts to the aligned feature."""
        return self.generate(self.align(feature) * mask)


class MGD(Counted, Head):
    """Generate the teacher's map from the student's masked one, summed over pairs.

    The authors' classification code masks whole channels (ratio .15, weight 7e-5), their code
    for dense tasks positions (`mask="pixel"`). Both maps are averaged to the smaller. The mask
    is a function of seed, step and rank; the buffer `step` counts calls in training.
    """

    ranges: ClassVar[Ranges] = {
        "mask_ratio": "[0, 1)",
        "mask": ("channel", "pixel"),
        "seed": "[0, inf)",
    }

    kind: ClassVar[str] = "feature"
    default_weight: ClassVar[float] = 7e-5

    def __init__(
        self,
        student: Layers = "level-1",
        teacher: Layers = "level-1",
        mask_ratio: float = 0.15,
        mask: str = "channel",
        seed: int = 0,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        need_layers(self)
        if not 0 <= mask_ratio < 1:
            raise ValueError(f"mask_ratio must be in [0, 1), got {mask_ratio}")
        if mask not in ("channel", "pixel"):
            raise ValueError(f"mask must be channel or pixel, got {mask!r}")
        self.mask_ratio, self.mask, self.seed = mask_ratio, mask, seed
        self.generations = Adapters()

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build a `Generation` for each pair: alignment and two convolutions."""
        self.generations.bind(self, student, teacher, Generation)

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the generation loss summed over pairs, a scalar."""
        generator = counted_generator(student.logits.device, self.seed, self.step)
        losses = []
        for generation, pair in zip(
            self.generations, map_pairs(self, student, teacher), strict=True
        ):
            ours, theirs = match_size(*pair)
            mask = draw_mask(theirs, self.mask_ratio, self.mask, generator)
            losses.append(generation_loss(generation(ours, mask), theirs))
        if self.training:
            self.step += 1
        return sum(losses[1:], losses[0])
