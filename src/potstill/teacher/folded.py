"""Inference-only copy of a teacher, batch-norm folded, equal within a tolerance."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from potstill.libraries.torch import fold_batch_norm
from potstill.models.copies import copy_network
from potstill.models.features.trace import in_eval_mode
from potstill.teacher.inplace import make_inplace


@dataclass(frozen=True)
class FoldedTeacher:
    """A copy for logits and pooled features; other layers may have been folded away.

    Attributes:
        network: frozen, in eval mode.
        difference: the largest one on the measured batch, relative to the largest logit or to 1.
        arithmetic: the steps applied, for a cache's manifest.
        refused: the steps left out, each with the reason.
    """

    network: nn.Module
    difference: float
    arithmetic: str
    refused: tuple[str, ...] = ()

    @property
    def is_half(self) -> bool:
        """Whether the copy computes in bfloat16 or float16."""
        return isinstance(self.network, InPrecision)


class InPrecision(nn.Module):
    """Run a network in half precision; float32 in, float32 logits (N, K) out."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network, self.dtype = network.to(dtype), dtype

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, K) float32 of images (N, C, H, W) float32."""
        return self.network(image.to(self.dtype)).float()


@torch.no_grad()
def fold_teacher(
    network: nn.Module, image: Tensor, dtype: torch.dtype | None = None, tolerance: float = 1e-3
) -> FoldedTeacher:
    """Fold batch-norm, activate in place, lay weights out channels last, lower the precision.

    A step that fails on this network, or moves its logits too far, is left out.

    Args:
        network: the teacher; it stays as it is.
        image: (N, C, H, W), on the network's device, to measure with: real images.
        dtype: `torch.bfloat16` or `torch.float16`; `None` for float32.
        tolerance: largest difference allowed, relative to the largest logit or to 1.
    """
    with in_eval_mode(network):
        expected = network(image).float()
    folded, done, refused = _frozen(copy_network(network)), ["float32"], []
    difference = 0.0
    for name, change in _changes(dtype).items():
        try:
            candidate = _frozen(change(copy.deepcopy(folded)))
            found = _distance(candidate(image).float(), expected)
        except Exception as error:  # tracing runs the network's own code: it may raise anything
            refused.append(f"{name}: {type(error).__name__}: {error}".splitlines()[0])
            continue
        if not found <= tolerance:
            refused.append(f"{name}: off by {found:.2g} > {tolerance:.2g}")
            continue
        folded, difference = candidate, found
        done.append(name)
    return FoldedTeacher(folded, difference, ", ".join(done), tuple(refused))


def _changes(dtype: torch.dtype | None) -> dict[str, Callable[[nn.Module], nn.Module]]:
    changes: dict[str, Callable[[nn.Module], nn.Module]] = {
        "batch-norm folded": fold_batch_norm,
        "in place": make_inplace,
        "channels last": lambda network: network.to(memory_format=torch.channels_last),
    }
    if dtype is not None:
        name = str(dtype).removeprefix("torch.")
        changes[name] = lambda network: InPrecision(network, dtype)
    return changes


def _frozen(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)


def _distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1.0))
