"""Ensemble of teachers as one network."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from potstill.config.ranges import Ranges


class TeacherEnsemble(nn.Module):
    """Average the members' predictions; heads may read `members.0.layer3` and the like.

    Args:
        members: networks that take the same images and return logits (N, K).
        mean: "probabilities" (the logits returned are log mean softmax) or "logits".
    """

    ranges: ClassVar[Ranges] = {"mean": ("probabilities", "logits")}

    def __init__(self, members: list[nn.Module], mean: str = "probabilities") -> None:
        super().__init__()
        if mean not in ("probabilities", "logits"):
            raise ValueError(f"mean must be probabilities or logits, got {mean}")
        if not members:
            raise ValueError("members must hold at least one network")
        self.members = nn.ModuleList(members)
        self.mean = mean

    def forward(self, image: Tensor) -> Tensor:
        """Return the ensemble's logits (N, K)."""
        logits = torch.stack([member(image) for member in self.members])  # (M, N, K)
        if self.mean == "logits":
            return logits.mean(0)
        return logits.float().log_softmax(2).logsumexp(0) - math.log(len(self.members))
