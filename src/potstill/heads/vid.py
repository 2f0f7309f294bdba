"""Variational information distillation (Ahn et al. 2019, arXiv:1904.05835)."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from potstill.config.ranges import Ranges
from potstill.heads.base import Head, Layers
from potstill.heads.common.adapters import Adapters, Shape, map_pairs, match_size, need_layers
from potstill.heads.common.schedules import Schedule
from potstill.models.features.outputs import ModelOutputs


def vid_loss(mean: Tensor, target: Tensor, variance: Tensor) -> Tensor:
    """Return -log q(target | student) of a Gaussian q, without its constant, averaged over values.

    `mean` and `target` are (N, C, H, W), `variance` broadcasts to them; the value is in nats and
    may be negative.

    Example:
        >>> from torch import ones
        >>> vid_loss(3 * ones(1, 2, 2, 2), ones(1, 2, 2, 2), variance=ones(1, 2, 1, 1))
        tensor(2.)
    """
    return 0.5 * ((mean - target).square() / variance + variance.log()).mean()


class Gaussian(nn.Module):
    """q(teacher | student): a mean from three 1x1 convolutions, a learned variance a channel."""

    def __init__(self, student: Shape, teacher: Shape, init_var: float, eps: float) -> None:
        super().__init__()
        width, wanted = student[0], teacher[0]
        # softplus(log_scale) + eps = init_var; the name is the official code's.
        log_scale = math.log(math.expm1(init_var - eps))
        self.log_scale = nn.Parameter(torch.full((wanted,), log_scale))
        self.regressor = nn.Sequential(
            nn.Conv2d(width, wanted, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(wanted, wanted, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(wanted, wanted, 1, bias=False),
        )
        self.eps = eps

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean (N, C_t, H, W) and the variance (1, C_t, 1, 1)."""
        variance = F.softplus(self.log_scale) + self.eps
        return self.regressor(feature), variance[None, :, None, None]


class VID(Head):
    """Maximise a bound on the information shared with the teacher's layers, summed over pairs.

    The larger map is averaged down to the smaller. The variances are trained with the rest.
    """

    ranges: ClassVar[Ranges] = {"init_var": "(eps, inf)", "eps": "[0, inf)"}

    kind: ClassVar[str] = "feature"
    default_weight: ClassVar[float] = 1.0

    def __init__(
        self,
        student: Layers = ("level-3", "level-2", "level-1"),
        teacher: Layers = ("level-3", "level-2", "level-1"),
        init_var: float = 5.0,
        eps: float = 1e-5,
        weight: float | Schedule | None = None,
    ) -> None:
        super().__init__(weight, student, teacher)
        need_layers(self)
        if not 0 <= eps < init_var < float("inf"):
            raise ValueError(f"want 0 <= eps < init_var, got eps={eps}, init_var={init_var}")
        self.init_var, self.eps = init_var, eps
        self.adapters = Adapters()

    def bind(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        """Build a `Gaussian` of the teacher's width for each pair."""
        self.adapters.bind(
            self,
            student,
            teacher,
            lambda ours, theirs: Gaussian(ours, theirs, self.init_var, self.eps),
        )

    def forward(self, student: ModelOutputs, teacher: ModelOutputs, target: Tensor) -> Tensor:
        """Return the sum of the pairs' negative log-likelihoods, a scalar."""
        losses = []
        for gaussian, pair in zip(self.adapters, map_pairs(self, student, teacher), strict=True):
            ours, theirs = match_size(*pair)
            mean, variance = gaussian(ours)
            losses.append(vid_loss(mean, theirs, variance))
        return sum(losses[1:], losses[0])
