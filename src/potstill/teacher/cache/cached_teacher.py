"""Teacher forward in training: from the cache where it can, from the network elsewhere."""

from collections.abc import Callable, Iterable
from math import nan
from typing import Any

import torch
from torch import Tensor

from potstill.errors import ConfigError
from potstill.models.features.outputs import ModelOutputs
from potstill.teacher.cache.encoding import CachedOutputs, Columns
from potstill.teacher.cache.store import TeacherStore

Forward = Callable[[Tensor, Tensor | None], ModelOutputs]
ViewIndex = Callable[[Tensor, int, int], Tensor]
EPOCH_BYTES = 2**30


class CachedTeacher:
    """Forward of a `FeatureExtractor` on the teacher, run only for rows not cached yet.

    Args:
        store: the cache of its outputs.
        view_index: (sample_id (N,), epoch, view) -> which of the image's finitely many views
            that is, (N,) int64 in [0, num_views).

    Attributes:
        forwards: images that went through the teacher since this was made.
        replayed: images that did not have to.
    """

    def __init__(self, store: TeacherStore, view_index: ViewIndex) -> None:
        self.store, self.view_index = store, view_index
        self.forwards = self.replayed = 0
        self._epoch: dict[tuple[int, int], Columns] = {}

    def __call__(
        self, forward: Forward, image: Any, sample_id: Tensor | None, epoch: int
    ) -> ModelOutputs:
        """Return the teacher's outputs for a batch, float32, on the images' device.

        Args:
            forward: (image, sample_id) -> ModelOutputs, the extractor on the teacher's network.
            image: (N, C, H, W), or a tuple of such for several views.
            sample_id: (N,) int64.
            epoch: decides, with the place in the tuple, which view the images show.

        Raises:
            ConfigError: if the batch has no sample ids.
        """
        if sample_id is None:
            raise ConfigError(
                "teacher.store: the batches have no sample ids, by which outputs are cached. "
                "Fix: teacher.store=off"
            )
        views = (image,) if isinstance(image, Tensor) else image
        first, *others = (
            self._to_outputs(self._view(forward, view, sample_id, epoch, number), view, sample_id)
            for number, view in enumerate(views)
        )
        return ModelOutputs(first.logits, first.features, sample_id, tuple(others))

    @torch.no_grad()
    def _view(
        self, forward: Forward, image: Tensor, sample_id: Tensor, epoch: int, number: int
    ) -> CachedOutputs:
        if (ready := self._epoch.get((epoch, number))) is not None:
            self.replayed += len(image)
            chosen = {name: part.index_select(0, sample_id) for name, part in ready.items()}
            return self.store.encoding.decode(chosen)
        view = self.view_index(sample_id, epoch, number)
        outputs, present = self.store.get(sample_id, view)
        missing = (~present).nonzero().squeeze(1).to(image.device)
        self.forwards += len(missing)
        self.replayed += len(image) - len(missing)
        if len(missing) == len(image):
            return self._forward(forward, image, sample_id, view)
        if len(missing):
            parts = (part.index_select(0, missing) for part in (image, sample_id, view))
            for old, new in zip(outputs, self._forward(forward, *parts), strict=True):
                if old is not None and new is not None:
                    old[~present] = new
        return outputs

    def _forward(
        self, forward: Forward, image: Tensor, sample_id: Tensor, view: Tensor
    ) -> CachedOutputs:
        outputs = forward(image, sample_id)
        return self.store.put(
            sample_id, view, CachedOutputs(outputs.logits, outputs.features.get("pooled"))
        )

    def _to_outputs(self, outputs: CachedOutputs, image: Tensor, sample_id: Tensor) -> ModelOutputs:
        logits, pooled = outputs.logits.to(image.device), outputs.pooled
        features = {} if pooled is None else {"pooled": pooled.to(image.device)}
        return ModelOutputs(logits, features, sample_id)

    def start_epoch(
        self, sample_id: Tensor, epoch: int, views: Iterable[int], device: torch.device
    ) -> bool:
        """Lay an epoch's outputs out on the device by sample id, if all of them are there.

        A step then costs one lookup on the device, with no copy and no waiting for it. Images
        that were not announced are NaN there, which turns a loss of them NaN.

        Args:
            sample_id: (M,) int64, every image this process will see in the epoch.
            epoch: its number.
            views: the places in a batch's tuple: 0 alone, or 0 and 1.
            device: where training runs.

        Returns:
            Whether every view was laid out.
        """
        self._epoch.clear()
        rows = {n: self.store.rows(sample_id, self.view_index(sample_id, epoch, n)) for n in views}
        samples = self.store.manifest.num_samples
        size = samples * self.store.encoding.row_bytes * len(rows)
        if size > EPOCH_BYTES or not all(bool(self.store.has(r).all()) for r in rows.values()):
            return False
        for number, wanted in rows.items():
            table, ids = self.store.encoding.empty(samples), sample_id.cpu()
            for name, part in self.store.columns(wanted).items():
                if part.is_floating_point():
                    table[name].fill_(nan)
                table[name][ids] = part
            self._epoch[epoch, number] = {name: part.to(device) for name, part in table.items()}
        return True
