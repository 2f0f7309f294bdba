"""Any map-style Dataset of (image, label) as a data module: that of a plugin, for instance."""

from typing import Any, ClassVar

from torch.utils.data import Dataset

from potstill.config.ranges import Ranges
from potstill.data.datamodule import ImageData
from potstill.data.loaders.in_memory import Normalize
from potstill.data.loaders.samples import SampleEvalLoader, SampleLoader
from potstill.data.loaders.split import split_ids
from potstill.data.loaders.workers import Workers, check_workers
from potstill.data.storage.samples import Samples, open_samples
from potstill.data.transforms.crop_flip import Augment
from potstill.errors import ConfigError

_SHARE = 10  # where no number is given, one in ten is held out


class DatasetData(ImageData):
    """Images and labels of `torch.utils.data.Dataset`s, with what training does to them on top.

    Images are of Pillow, or tensors (3, H, W), (1, H, W) or (H, W), of `image_size` pixels: bytes,
    or floats, which are taken as pixels from 0 to 1 and served as they are where `mean` is 0 and
    `std` is 1. The dataset's own transforms must give the same image each time.

    Args:
        train: what is trained on.
        val: validated on; None sets `val_size` of `train` aside.
        test: tested on; None sets `test_size` of `train` aside, the same whatever the seeds.
        val_size, test_size: how many, each class alike; None for a tenth.
        mean, std: per channel, of pixels between 0 and 1.
        crop_padding: pixels of black on each side before a random crop; 0 for no crop.
        flip: mirror half of the images.
        num_workers: processes that read samples; 0 reads them in this one.
        prefetch_factor: batches each of them reads ahead; None for torch's 2.
        settings: see `ImageData`.
    """

    ranges: ClassVar[Ranges] = {
        "test_size": "[1, inf)",
        "crop_padding": "[0, inf)",
        "num_workers": "[0, inf)",
        "prefetch_factor": "[1, inf)",
    }

    num_classes: int

    def __init__(
        self,
        train: Dataset[Any],
        val: Dataset[Any] | None = None,
        test: Dataset[Any] | None = None,
        *,
        num_classes: int,
        image_size: int,
        val_size: int | None = None,
        test_size: int | None = None,
        mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
        std: tuple[float, float, float] = (1.0, 1.0, 1.0),
        crop_padding: int = 0,
        flip: bool = False,
        num_workers: int = 0,
        prefetch_factor: int | None = None,
        **settings: Any,
    ) -> None:
        settings |= {"num_classes": num_classes, "image_size": image_size}
        super().__init__(mean=mean, std=std, **settings)
        for key, given, size in (("val", val, val_size), ("test", test, test_size)):
            if size is not None and (given is not None or size < 1):
                raise ConfigError(
                    f"data.{key}_size={size}: images of data.train, 1 or more, where data.{key} is "
                    f"null. Fix: data.{key}_size=null"
                )
        self.datasets = {"train": train, "val": val, "test": test}
        self.sizes = {"val": val_size, "test": test_size}
        names = tuple(map(str, getattr(train, "classes", None) or range(num_classes)))
        if len(names) != num_classes:
            raise ConfigError(
                f"data.num_classes={num_classes}: data.train has {len(names)} classes. "
                f"Fix: data.num_classes={len(names)}"
            )
        self.class_names = names
        check_workers(num_workers, prefetch_factor)
        self.num_workers, self.prefetch_factor = num_workers, prefetch_factor
        self.set_augmentation(Augment(self.seed, crop_padding, flip, self.distort))

    @property
    def dataset_name(self) -> str:
        """The name of the training dataset's class."""
        return type(self.datasets["train"]).__name__

    @property
    def normalize(self) -> Normalize:
        """The normalisation of every split; of floats, white is 1."""
        is_float = self._splits["train"].dtype.is_floating_point
        return Normalize(self.mean, self.std, self.device, white=1 if is_float else 255)

    def split(self) -> dict[str, Samples]:
        """Return the samples of each split."""
        given = {
            name: open_samples(dataset, f"data.{name}", self.image_size, self.num_classes)
            for name, dataset in self.datasets.items()
            if dataset is not None
        }
        if self.distort and given["train"].dtype.is_floating_point:
            raise ConfigError(
                "data.train: gives floats, which color_jitter, randaugment and cutout do not take. "
                "Fix: images of Pillow or bytes, or none of these"
            )
        for name, seed in (("test", 0), ("val", self.split_seed)):
            if name not in given:
                rest = given["train"]
                number = self.sizes[name] or max(len(rest) // _SHARE, 1)
                kept, held_out = split_ids(rest.targets, number, seed)
                given |= {"train": rest[kept], name: rest[held_out]}
        return given

    def train_loader(self, split: Samples) -> SampleLoader:
        """Return the shuffled, augmented batches of a split."""
        return SampleLoader(
            split, self.batch_size, self.viewing, self.normalize, self._workers(), self.drop_last
        )

    def eval_loader(self, split: Samples) -> SampleEvalLoader:
        """Return the batches of a split as it is, in order."""
        return SampleEvalLoader(split, self.eval_batch_size, self.normalize, self._workers())

    def _workers(self) -> Workers:
        return Workers(self.num_workers, 0, self.device, self.prefetch_factor)
