"""Verification of cached outputs against the teacher on a few rows."""

import secrets
from collections.abc import Callable

import torch
from torch import Tensor

from potstill.errors import DataError
from potstill.models.features.outputs import ModelOutputs
from potstill.teacher.cache.encoding import CachedOutputs
from potstill.teacher.cache.store import TeacherStore

ROWS = 16


@torch.no_grad()
def verify(
    store: TeacherStore,
    forward: Callable[[Tensor, Tensor | None], ModelOutputs],
    view_images: Callable[[Tensor, Tensor], Tensor],
    count: int = ROWS,
    seed: int | None = None,
) -> float:
    """Run the teacher on random cached rows; return the largest relative difference.

    Args:
        store: what to check; an empty one passes.
        forward: (image, sample_id) -> ModelOutputs, a `FeatureExtractor` on the teacher.
        view_images: (sample_id (N,), view (N,)) -> normalised images (N, 3, H, W).
        count: how many rows.
        seed: which rows; `None` for others every time, so that no fault stays hidden for long.

    Raises:
        DataError: if a row is off by more than the manifest's tolerance.
    """
    stored = store.stored_rows()
    if not len(stored):
        return 0.0
    generator = torch.Generator().manual_seed(secrets.randbits(63) if seed is None else seed)
    rows = stored[torch.randperm(len(stored), generator=generator)[:count]]
    samples = store.manifest.num_samples
    sample_id, view = rows % samples, rows // samples
    outputs = forward(view_images(sample_id, view), sample_id)
    online = CachedOutputs(outputs.logits, outputs.features.get("pooled")).cpu()
    difference = store.encoding.difference(store.columns(rows), online)  # (count,)
    worst = int(difference.nan_to_num(nan=torch.inf).argmax())
    if not float(difference[worst]) <= store.manifest.tolerance:
        raise DataError(
            f"teacher.store: {store.folder} is not what the teacher gives: max |difference| "
            f"{float(difference[worst]):.2g} > {store.manifest.tolerance:.2g} (relative; sample "
            f"{int(sample_id[worst])}, view {int(view[worst])}). Fix: teacher.store=refresh"
        )
    return float(difference[worst])
