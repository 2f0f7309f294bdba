"""Gradient diagnostics: norm of each loss term's gradient and its cosine with the task's."""

from collections.abc import Sequence
from typing import ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor

from potstill.config.ranges import Ranges
from potstill.training.module import DistillationModule


class HeadDiagnostics(pl.Callback):
    """Log each term's gradient norm and its cosine with the task's gradient, on the student.

    Costs one more backward pass a term at every `every_n_steps`-th step and nothing between.
    Names: `gradient/<term>_norm` and `gradient/<head>_cosine`, of the weighted terms.
    """

    ranges: ClassVar[Ranges] = {"every_n_steps": "[1, inf)"}

    def __init__(self, every_n_steps: int = 100) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}")
        self.every_n_steps = every_n_steps

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Differentiate each term on its own."""
        assert isinstance(pl_module, DistillationModule)
        if trainer.global_step % self.every_n_steps:
            return
        parameters = [p for p in pl_module.student.parameters() if p.requires_grad]
        found = {name: _gradient(term, parameters) for name, term in pl_module.terms.items()}
        values = {f"gradient/{name}_norm": gradient.norm() for name, gradient in found.items()}
        for name, gradient in found.items():
            if name != "task":
                cosine = torch.cosine_similarity(gradient, found["task"], dim=0)
                values[f"gradient/{name}_cosine"] = cosine
        for logger in trainer.loggers:
            numbers = {name: value.item() for name, value in values.items()}
            logger.log_metrics(numbers, step=trainer.global_step)


def _gradient(term: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """Return the gradient of a term as one vector, zeros where it does not reach."""
    if not term.requires_grad:
        return torch.cat([torch.zeros_like(p).flatten() for p in parameters])
    found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])
