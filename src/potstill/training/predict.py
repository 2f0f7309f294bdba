"""Logits of a network, or of anything else that takes images, over a whole loader."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn

from potstill.data.loaders.batch import unpack
from potstill.data.loaders.epoch_order import rank_and_world
from potstill.distributed import collectives
from potstill.models.features.trace import in_eval_mode

CPU = torch.device("cpu")


@torch.no_grad()
def predict(
    forward: Callable[[Tensor], Tensor],
    loader: Iterable[Any],
    device: torch.device = CPU,
    title: str = "",
) -> tuple[Tensor, Tensor]:
    """Return (logits (M, K) float32, targets (M,)) on the CPU; float32 whatever the run trains in.

    Where several processes share the loader, each gets the rows of all, in order of their sample
    ids.

    Args:
        forward: images (N, C, H, W) -> logits (N, K). A network is in eval mode and on `device`
            meanwhile; its own mode and device are kept.
        loader: batches (image, target) or (image, target, sample_id); of several views the first.
        device: where the images go.
        title: of a progress bar; none without.
    """
    logits, targets = [], []
    ids: list[Any] = []
    rank, world = rank_and_world()
    with _ready(forward, device), torch.autocast(device.type, enabled=False):
        for batch in track(loader, title, transient=True, disable=not title or rank > 0):
            image, target, sample_id = unpack(batch)
            image = image if isinstance(image, Tensor) else image[0]
            logits.append(forward(image.to(device)).float().cpu())
            targets.append(target.cpu())
            ids.append(sample_id)
    found, labels = torch.cat(logits), torch.cat(targets)
    if world > 1:
        found, labels = collectives.in_order(torch.cat(ids), found, labels)
    return found, labels


@contextmanager
def _ready(forward: Callable[[Tensor], Tensor], device: torch.device) -> Iterator[None]:
    """Have a network on `device` and in eval mode for a while; any other callable as it is."""
    if not isinstance(forward, nn.Module):
        yield
        return
    home = next((p.device for p in forward.parameters()), device)
    forward.to(device)
    with in_eval_mode(forward):
        yield
    forward.to(home)
