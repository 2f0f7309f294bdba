"""Loaders of map-style Datasets: samples read by worker processes, augmented on the device."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from potstill.data.loaders.epoch_order import eval_batches
from potstill.data.loaders.in_memory import AugmentedLoader, Batch, Images, Normalize
from potstill.data.loaders.transfer import to_device
from potstill.data.loaders.views import Viewing
from potstill.data.loaders.workers import Keys, Workers, received
from potstill.data.storage.samples import Samples
from potstill.data.transforms.crop_flip import Augment
from potstill.errors import DataError


@dataclass(frozen=True)
class SampleBatches(Dataset[Any]):
    """Images of samples by lists of ids, as worker processes read them."""

    samples: Samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitems__(self, ids: Sequence[int]) -> Tensor | DataError:
        """Return the images with these ids (N,), or what is wrong with one of them."""
        # As a value: an exception would leave the worker as a page of traceback in its message.
        try:
            return self.samples.images(ids)
        except DataError as error:
            return error


class SampleLoader(AugmentedLoader):
    """Training batches `(image, target, sample_id)` of samples, the same for any worker count."""

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        viewing: Viewing[Augment],
        normalize: Normalize,
        workers: Workers,
        drop_last: bool = True,
    ) -> None:
        device = workers.device
        super().__init__(
            len(samples), samples.size, batch_size, viewing, normalize, device, drop_last
        )
        self.samples, self._keys = samples, Keys()
        self._loader = workers.loader(SampleBatches(samples), self._keys)

    def stream(self, batches: Iterable[Tensor]) -> Iterator[Images]:
        """Yield the images of each tensor of ids; workers read ahead."""
        queued: deque[Tensor] = deque()

        def requests() -> Iterator[list[int]]:
            for ids in batches:
                queued.append(ids)
                yield ids.tolist()

        self._keys.batches = requests()
        for images in received(self._loader):
            yield self._with_targets(images, queued.popleft())

    def fetch(self, ids: Tensor) -> Images:
        """Return the images with these ids (M,), read by this process."""
        return self._with_targets(self.samples.images(ids.tolist()), ids)

    def _with_targets(self, images: Tensor, ids: Tensor) -> Images:
        targets = self.samples.targets[ids.cpu()]
        return Images(to_device(images, self.device), to_device(targets, self.device))


class SampleEvalLoader:
    """Evaluation batches `(image, target, sample_id)`: every sample once, in order, as it is."""

    def __init__(
        self, samples: Samples, batch_size: int, normalize: Normalize, workers: Workers
    ) -> None:
        self.samples, self.batch_size, self.normalize = samples, batch_size, normalize
        self.device = workers.device
        keys = [batch.tolist() for batch in self._batches()]
        self._loader = workers.loader(SampleBatches(samples), keys)

    def _batches(self) -> list[Tensor]:
        return eval_batches(len(self.samples), self.batch_size)

    def __len__(self) -> int:
        return len(self._batches())

    def __iter__(self) -> Iterator[Batch]:
        for images, sample_id in zip(received(self._loader), self._batches(), strict=True):
            target = to_device(self.samples.targets[sample_id], self.device)
            image = self.normalize(to_device(images, self.device))
            yield image, target, to_device(sample_id, self.device)
