"""Lightning's loop without what it does at every step for features that are not in use."""

import inspect
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.optim import Optimizer

NOTES = frozenset({"_current_fx_name", "terms"})  # neither parameters nor modules, ever
BATCH_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class LeanModule(pl.LightningModule):
    """A LightningModule whose steps cost about half; it does the same."""

    _has_batch_hooks = True

    def __init_subclass__(cls, **settings: Any) -> None:
        """Give `training_step` a signature to show: Lightning inspects it at every batch."""
        super().__init_subclass__(**settings)
        if (step := vars(cls).get("training_step")) is not None:
            step.__signature__ = inspect.signature(step)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute without nn.Module's search where it changes all the time.

        Lightning notes down what it is calling 46 times a step, 2 us each.
        """
        if name in NOTES:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def look_for_batch_hooks(self) -> None:
        """Find out whether module or data do something around a batch's transfer."""
        owners = (self, getattr(self.trainer, "datamodule", None))
        found = (is_overridden(hook, owner) for hook in BATCH_HOOKS for owner in owners)
        self._has_batch_hooks = any(found)

    def _call_batch_hook(self, hook_name: str, *args: Any) -> Any:
        # Lightning compares the hooks' code with the original's at every batch.
        if self._has_batch_hooks:
            return super()._call_batch_hook(hook_name, *args)
        if hook_name != "transfer_batch_to_device" or is_on(args[0], args[1]):
            return args[0]
        return self.transfer_batch_to_device(*args)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as the Trainer says, and do not even ask where it says nothing."""
        if gradient_clip_val is not None:
            super().configure_gradient_clipping(
                optimizer, gradient_clip_val, gradient_clip_algorithm
            )


class Unprofiled(PassThroughProfiler):
    """Measures nothing, as Lightning's own does, which makes 30 generators a step for it."""

    _nothing = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager[Any]:  # type: ignore[override]
        """Return a context that does nothing."""
        return self._nothing


def is_on(batch: Any, device: torch.device) -> bool:
    """Return whether a batch is a sequence of tensors that are all on `device`."""
    return isinstance(batch, list | tuple) and all(
        isinstance(part, Tensor) and part.device == device for part in batch
    )
