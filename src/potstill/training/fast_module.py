"""LightningModule whose steps skip what Lightning does for features that are not in use."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.optim import Optimizer

FREQUENT = frozenset({"_current_fx_name", "terms"})  # neither parameters nor modules, ever
BATCH_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class FastModule(pl.LightningModule):
    """A LightningModule that does the same in cheaper steps."""

    _has_batch_hooks = True

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute without nn.Module's search where it changes all the time.

        Lightning stores the name of what it calls 46 times a step, 2 us each.
        """
        if name in FREQUENT:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @contextmanager
    def batch_hooks_known(self, datamodule: Any) -> Iterator[None]:
        """Look once for hooks around a batch's transfer; after the block, at every batch again."""
        owners = (self, datamodule)
        found = any(is_overridden(hook, owner) for hook in BATCH_HOOKS for owner in owners)
        self.__dict__["_has_batch_hooks"] = found
        try:
            yield
        finally:
            del self.__dict__["_has_batch_hooks"]

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
        """Clip as the Trainer is set to; where it is not, at no cost."""
        if gradient_clip_val is not None:
            super().configure_gradient_clipping(
                optimizer, gradient_clip_val, gradient_clip_algorithm
            )


def is_on(batch: Any, device: torch.device) -> bool:
    """Return whether a batch is a sequence of tensors that are all on `device`."""
    return isinstance(batch, list | tuple) and all(
        isinstance(part, Tensor) and part.device == device for part in batch
    )
