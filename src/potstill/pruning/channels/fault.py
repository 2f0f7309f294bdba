"""Comparison of a pruned network with the dense one whose removed channels are silenced."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from potstill.errors import ConfigError
from potstill.models.copies import copy_network
from potstill.models.features.logits import select_logits, tensors_by_place
from potstill.pruning.channels.modes import forward_modes
from potstill.pruning.channels.plan import ChannelPlan, apply_plan
from potstill.pruning.channels.silenced import products, reductions  # noqa: F401  operators
from potstill.pruning.channels.silenced.mode import Mismatch, silenced
from potstill.pruning.channels.silenced.network import CallStack, Outputs, present, silence

IMAGES = 2
TIGHT = {torch.float64: 1e-9, torch.float32: 1e-4}  # of the largest entry; else layers are compared
LOOSE = {torch.float64: 1e-5, torch.float32: 1e-3}  # summation order differs; a wrong channel shows


@dataclass(frozen=True)
class Fault:
    """What is wrong with a pruned network, and the module where it shows."""

    layer: str
    reason: str


def find_fault(
    net: nn.Module,
    plan: ChannelPlan,
    image_shape: Sequence[int],
    output: str = "",
    dtype: torch.dtype = torch.float64,
) -> Fault | None:
    """Return what is wrong with `net`, an `eval_copy`, pruned by `plan`; None if nothing is.

    On random images the pruned network must compute what the dense one does without those
    channels; where the outputs agree only loosely, so must each layer.

    Args:
        net: the dense network.
        plan: what is cut.
        image_shape: (C, H, W).
        output: where the logits are in what it returns.
        dtype: to compute in; float32 where the network does not run in float64.

    Raises:
        ConfigError: if the dense network does not run, or its outputs are not finite.
    """
    try:
        return Pair(net, plan, image_shape, dtype).fault(output)
    except _DenseError as error:
        if dtype == torch.float64:
            return find_fault(net, plan, image_shape, output, torch.float32)
        raise ConfigError(
            f"model={type(net).__name__}: does not run ({error}). Fix: a network that takes "
            f"images {tuple(image_shape)} on a CPU"
        ) from error


class _DenseError(Exception):
    """The dense network does not run, as some do not in float64."""


class Pair:
    """A dense network with channels silenced, and the pruned network, side by side."""

    def __init__(
        self, net: nn.Module, plan: ChannelPlan, image_shape: Sequence[int], dtype: torch.dtype
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        self.images = torch.randn(IMAGES, *image_shape, generator=generator).to(dtype)
        self.dense = silence(copy_network(net).to(dtype), plan)
        self.pruned = apply_plan(copy_network(net).to(dtype), plan)

    def fault(self, output: str) -> Fault | None:
        """Return where the two differ, in each mode in which the network takes another path."""
        for mode in forward_modes(self.dense):
            for module, like in zip(self.pruned.modules(), self.dense.modules(), strict=True):
                module.training = like.training
            found = self._outputs()
            if isinstance(found, Fault):
                return found
            wanted, pruned = found
            if mode == "eval" and select_logits(wanted, output).isnan().any():
                return Fault("", "the logits lose classes")
            parts = zip(tensors_by_place(wanted), tensors_by_place(pruned), strict=True)
            for (_, value), (_, other) in parts:
                if fault := self._difference(value, other):
                    return fault
        return None

    @torch.no_grad()
    def _outputs(self) -> Fault | tuple[Any, Any]:
        with CallStack(self.dense) as stack:
            try:
                with silenced():
                    wanted = self.dense(self.images)
            except Mismatch as error:
                return Fault(stack.innermost, str(error))
            except Exception as error:  # whatever a network of somebody else's raises
                raise _DenseError(_line(error)) from error
        with CallStack(self.pruned) as stack:
            try:
                return wanted, self.pruned(self.images)
            except Exception as error:
                reason = f"does not run with fewer channels ({_line(error)})"
                return Fault(stack.innermost, reason)

    def _difference(self, wanted: Tensor, found: Tensor) -> Fault | None:
        wanted, dtype = present(wanted), self.images.dtype
        if not wanted.isfinite().all():
            raise ConfigError(
                f"model={type(self.dense).__name__}: its outputs are not finite. "
                "Fix: weights without NaN"
            )
        if (error := _error(wanted, found)) <= TIGHT[dtype]:
            return None
        if fault := self._layer_at_fault():
            return fault
        return Fault("", "the outputs are others") if error > LOOSE[dtype] else None

    @torch.no_grad()
    def _layer_at_fault(self) -> Fault | None:
        """Return the first module whose output differs; all ran once, so they run again."""
        with Outputs(self.dense) as wanted, silenced():
            self.dense(self.images)
        with Outputs(self.pruned) as found:
            self.pruned(self.images)
        for (path, value), (_, other) in zip(wanted.values, found.values, strict=False):
            if (error := _error(value, other)) > LOOSE[self.images.dtype]:
                return Fault(path, f"computes something else (off by {min(error, 1):.1%})")
        return None


def _error(wanted: Tensor, found: Tensor) -> float:
    """Return the largest difference, as a share of the largest entry; infinite between sizes."""
    wanted, found = present(wanted), found.flatten()
    if wanted.shape != found.shape:
        return torch.inf
    if not len(wanted):
        return 0.0
    scale = wanted.abs().max().clamp_min(torch.finfo(wanted.dtype).tiny)
    return ((wanted - found).abs().max() / scale).nan_to_num(torch.inf).item()


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
