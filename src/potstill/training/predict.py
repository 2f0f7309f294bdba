"""Run a network over a loader once: what every accuracy in a report is computed from."""

from collections.abc import Iterable
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn

from potstill.data.loaders.batch import unpack
from potstill.distributed import collectives
from potstill.models.features.trace import in_eval_mode


@torch.no_grad()
def predict(
    network: nn.Module, loader: Iterable[Any], device: torch.device, title: str = ""
) -> tuple[Tensor, Tensor]:
    """Return (logits (M, K) float32, targets (M,)) on the CPU; float32 whatever the run trains in.

    The network's mode and device are kept; `title` shows a progress bar while it runs. Where
    several processes share the loader, each gets the rows of all, in order of their sample ids.
    """
    home = next((p.device for p in network.parameters()), device)
    network.to(device)
    logits, targets = [], []
    ids: list[Any] = []
    with in_eval_mode(network), torch.autocast(device.type, enabled=False):
        shown = bool(title) and collectives.is_first()
        for batch in track(loader, title, transient=True, disable=not shown):
            image, target, sample_id = unpack(batch)
            image = image if isinstance(image, Tensor) else image[0]
            logits.append(network(image.to(device)).float().cpu())
            targets.append(target.cpu())
            ids.append(sample_id)
    network.to(home)
    found, labels = torch.cat(logits), torch.cat(targets)
    if collectives.world() > 1:
        found, labels = collectives.in_order(torch.cat(ids), found, labels)
    return found, labels
