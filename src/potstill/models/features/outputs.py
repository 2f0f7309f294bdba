"""Logits and named features of one network for one batch."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class ModelOutputs:
    """The outputs of one network for one batch.

    Attributes:
        logits: (N, K).
        features: tensors by the name of their layer: maps (N, C, H, W), token
            sequences (N, L, C) or pooled vectors (N, C).
        sample_id: (N,) int64, the position of each image in the training set; `None`
            where the data has none.
        views: outputs for further views of the same images, in the data's order.
    """

    logits: Tensor
    features: dict[str, Tensor] = field(default_factory=dict)
    sample_id: Tensor | None = None
    views: tuple["ModelOutputs", ...] = ()

    def promoted(self) -> "ModelOutputs":
        """Return the same outputs with half precision raised to float32 (float64 stays)."""
        if not self._is_half():
            return self
        return replace(
            self,
            logits=_promote(self.logits),
            features={name: _promote(value) for name, value in self.features.items()},
            views=tuple(view.promoted() for view in self.views),
        )

    def _is_half(self) -> bool:
        if not self.features and not self.views:
            return self.logits.dtype in HALF
        tensors = (self.logits, *self.features.values())
        return any(value.dtype in HALF for value in tensors) or any(
            view._is_half() for view in self.views
        )


def _promote(value: Tensor) -> Tensor:
    return value.float() if value.dtype in HALF else value
