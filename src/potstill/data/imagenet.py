"""ImageNet, or any folder of photographs laid out like it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from potstill.config.ranges import Ranges
from potstill.data.datamodule import ImageData
from potstill.data.loaders.workers import FolderEvalLoader, FolderLoader, Workers, check_workers
from potstill.data.storage.image_folder import Files, check_classes, class_folders, find_files
from potstill.data.transforms.random_crop import CentreCrop, RandomCrop
from potstill.errors import DataError

Loader = TypeVar("Loader", bound=FolderLoader)


class ImageNet(ImageData):
    """Photographs in `root/train/CLASS/`, `root/val/CLASS/` (Russakovsky et al., arXiv:1409.0575).

    The validation images are taken from `train`; `val` is the test set, for the end.

    Args:
        root: the folder.
        num_classes: must be the number of class folders in `train`.
        image_size: pixels, 224 for most networks.
        class_names: the class folders in the order of the labels; sorted, where null.
        crop_scale: least and greatest share of the area a training crop takes.
        crop_ratio: least and greatest width / height of a training crop.
        flip: mirror half of the images.
        eval_crop_ratio: share of the shorter side that is looked at; 0.875 is 224 of 256.
        num_workers: processes that read files; results do not depend on it.
        prefetch_factor: batches each of them reads ahead; null for torch's 2.
        max_pixels: larger images are refused before they are decoded.
        settings: see `ImageData`.
    """

    ranges: ClassVar[Ranges] = {
        "root": "not empty",
        "class_names": "not empty",
        "crop_scale": ["(0, 1]", "(0, 1]"],
        "crop_ratio": ["(0, inf)", "(0, inf)"],
        "eval_crop_ratio": "(0, 1]",
        "num_workers": "[0, inf)",
        "prefetch_factor": "[1, inf)",
        "max_pixels": "[1, inf)",
    }

    def __init__(
        self,
        root: str,
        *,
        num_classes: int = 1000,
        image_size: int = 224,
        class_names: Sequence[str] | None = None,
        crop_scale: Sequence[float] = (0.08, 1.0),
        crop_ratio: Sequence[float] = (3 / 4, 4 / 3),
        flip: bool = True,
        eval_crop_ratio: float = 0.875,
        num_workers: int = 4,
        prefetch_factor: int | None = None,
        max_pixels: int = 50_000_000,
        **settings: Any,
    ) -> None:
        super().__init__(num_classes=num_classes, image_size=image_size, **settings)
        self.root, self.class_names = Path(root), tuple(class_names or ())
        scale, ratio = tuple(crop_scale), tuple(crop_ratio)
        self.set_augmentation(RandomCrop(self.seed, image_size, scale, ratio, flip, self.distort))
        self.centre_crop = CentreCrop(image_size, eval_crop_ratio)
        check_workers(num_workers, prefetch_factor)
        self.num_workers, self.prefetch_factor = num_workers, prefetch_factor
        self.max_pixels = max_pixels

    def prepare_data(self) -> None:
        """Check that the folders are there and hold the classes they should."""
        train = self.root / "train"
        names = self.class_names or class_folders(train)
        check_classes(train, names)
        if len(names) != self.num_classes:
            raise DataError(
                f"data.num_classes={self.num_classes}: {train} holds {len(names)} class folders. "
                f"Fix: data.num_classes={len(names)}"
            )
        check_classes(self.root / "val", names)
        self.class_names = names

    def load(self) -> tuple[Files, Files]:
        """Return the files of (train, val)."""
        self.prepare_data()
        return (
            find_files(self.root, "train", self.class_names),
            find_files(self.root, "val", self.class_names),
        )

    def train_loader(self, split: Files) -> FolderLoader:
        """Return the shuffled, augmented batches of a split."""
        return self._train_loader(FolderLoader, split)

    def _train_loader(self, kind: type[Loader], split: Files, **settings: Any) -> Loader:
        shared = (self.batch_size, self.viewing, self.normalize, self._workers(), self.drop_last)
        return kind(split, *shared, **settings)

    def eval_loader(self, split: Files) -> FolderEvalLoader:
        """Return the batches of a split, the middle of every image, in order."""
        return FolderEvalLoader(
            split, self.eval_batch_size, self.centre_crop, self.normalize, self._workers()
        )

    def _workers(self) -> Workers:
        return Workers(self.num_workers, self.max_pixels, self.device, self.prefetch_factor)
