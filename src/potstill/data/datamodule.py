"""Base class of data modules: splits, loaders, normalization, fingerprint."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from potstill.config.ranges import Ranges
from potstill.data.class_names import check_names
from potstill.data.loaders.few_labels import Labels, labelled_ids, shown
from potstill.data.loaders.in_memory import Normalize
from potstill.data.loaders.split import fingerprint, split_ids
from potstill.data.loaders.views import Augmentation, Viewing, render
from potstill.data.transforms.crop_flip import Augment
from potstill.data.transforms.mixup import Mix
from potstill.data.transforms.pipeline import Distort, numbers
from potstill.data.transforms.random_crop import RandomCrop
from potstill.errors import ConfigError

Channels = tuple[float, float, float]


class ImageData(LightningDataModule):
    """Images with labels in a training, a validation and a test split.

    Batches are `(image, target, sample_id)`: image (N, 3, H, W) float32, normalised and channels
    last (a tuple of `views` such tensors in training where `views` > 1), target (N,) int64 of
    classes, (N, num_classes) float32 in training with mixup or CutMix, or float32 of whatever
    the task takes, sample_id (N,) int64, the position in its split, the same in every epoch and
    run.

    Subclasses implement `load`, `train_loader` and `eval_loader`, and call `set_augmentation`.

    Args:
        num_classes: must be what the data holds; None where targets are no classes.
        image_size: pixels, height and width.
        mean: per channel, of pixels between 0 and 1; ImageNet's, unless given.
        std: per channel.
        batch_size: training images per step and process.
        eval_batch_size: validation and test images per batch and process.
        val_size: how many training images are set aside for validation.
        split_seed: chooses those images.
        seed: of the order, the augmentation, and the choice of images that keep their label.
        views: how many augmented views of each image a step sees.
        view_cycle: after how many epochs the same views come again, in a new order; never, where
            null. A teacher's outputs for them can then be cached.
        color_jitter: strength of brightness, contrast, saturation and hue; null for none.
        randaugment: how many operations and their magnitude, 0 to 30; null for none.
        cutout: side of a black square in pixels; 0 for none.
        mixup: alpha of mixup; 0 for none.
        cutmix: alpha of CutMix; 0 for none. With mixup, each image gets one of the two.
        drop_last: leave out an epoch's last batch where it is not full.
        labels_per_class: how many training images of each class keep their label; all, where
            null. The others have target -1 for a student that is taught, and are left out for
            one that is not; a teacher that is trained here has seen all labels, and validation
            and test images keep theirs.

    Attributes:
        class_names: by label; none where targets are no classes.
        train_targets: after `setup`, the targets (num_train, ...) by sample id, all of them.
        labelled: after `setup`, sample ids (M,) of the training images that keep their label;
            None for all.
        labels: what training shows where only some are labelled: "all" labels, "few", or those
            images "only".
        fingerprint: after `setup`, sha256 over images, labels, split, size and normalisation.
            What training does to the images is apart from it: `viewing.identity`.
        viewing: what training does to the images, and which of their views it shows when.
    """

    ranges: ClassVar[Ranges] = {
        "num_classes": "[2, inf)",
        "image_size": "[1, inf)",
        "std": "(0, inf)",
        "batch_size": "[1, inf)",
        "eval_batch_size": "[1, inf)",
        "val_size": "[1, inf)",
        "split_seed": "[0, inf)",
        "seed": "[0, inf)",
        "views": "[1, inf)",
        "view_cycle": "[1, inf)",
        "color_jitter": ["[0, inf)", "[0, inf)", "[0, inf)", "[0, 0.5]"],
        "randaugment": ["[1, inf)", "[0, 30]"],
        "cutout": "[0, image_size]",
        "mixup": "[0, inf)",
        "cutmix": "[0, inf)",
        "labels_per_class": "[1, inf)",
    }

    class_names: tuple[str, ...] = ()
    train_targets: Tensor
    labelled: Tensor | None = None
    labels: Labels = "few"
    fingerprint: str
    augment: Augment | RandomCrop
    viewing: Viewing[Any]

    def __init__(
        self,
        *,
        num_classes: int | None,
        image_size: int,
        mean: Channels = (0.485, 0.456, 0.406),
        std: Channels = (0.229, 0.224, 0.225),
        batch_size: int = 128,
        eval_batch_size: int = 512,
        val_size: int = 5000,
        split_seed: int = 0,
        seed: int = 0,
        views: int = 1,
        view_cycle: int | None = None,
        color_jitter: Sequence[float] | None = None,
        randaugment: Sequence[int] | None = None,
        cutout: int = 0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        drop_last: bool = True,
        labels_per_class: int | None = None,
    ) -> None:
        super().__init__()
        self.num_classes, self.image_size = num_classes, image_size
        self.mean, self.std = tuple(mean), tuple(std)
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.val_size, self.split_seed, self.seed = val_size, split_seed, seed
        self.views, self.view_cycle, self.drop_last = views, view_cycle, drop_last
        self.labels_per_class = labels_per_class
        distort = Distort(seed, numbers(color_jitter), numbers(randaugment), cutout)
        mix = Mix(seed, num_classes, mixup, cutmix)
        self.distort, self.mix = distort if distort.on else None, mix if mix.on else None
        self._splits: dict[str, Any] = {}
        self._viewer: Any = None
        self._check()

    def _check(self) -> None:
        counts = ("batch_size", "eval_batch_size", "val_size", "image_size", "num_classes")
        for name in (*counts, "labels_per_class"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"data.{name}={getattr(self, name)}: too small. Fix: 1 or more")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ConfigError(
                f"data.mean={list(self.mean)}, data.std={list(self.std)}: not three numbers each, "
                "std above 0. Fix: one number for red, green and blue"
            )

        if self.labels_per_class and self.mix:
            raise ConfigError(
                f"data.labels_per_class={self.labels_per_class}: mixup and CutMix would mix labels "
                "with none. Fix: data.mixup=0 data.cutmix=0"
            )

    def set_augmentation(self, augment: Augmentation) -> None:
        """Set what training does to each image; mixing and the number of views come on top."""
        self.augment = augment
        self.viewing = Viewing(augment, self.mix, self.views, self.view_cycle)

    @property
    def dataset_name(self) -> str:
        """What the data is called in texts and tables."""
        return type(self).__name__

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The shape of one image, (3, H, W)."""
        return 3, self.image_size, self.image_size

    @property
    def num_train(self) -> int:
        """How many images the training split has."""
        return len(self.train_targets)

    @property
    def normalize(self) -> Normalize:
        """The normalisation of every split, on the trainer's device."""
        return Normalize(self.mean, self.std, self.device)

    @property
    def device(self) -> torch.device:
        """Where the trainer runs; the CPU without one."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    @property
    def num_views(self) -> int | None:
        """How many views of an image training shows; None where they never come round."""
        return self.viewing.num_views

    def view_index(self, sample_id: Tensor, epoch: int, view: int = 0) -> Tensor:
        """Return which of the `num_views` views of the images (N,) `epoch` shows, (N,) int64.

        Raises:
            ConfigError: where `num_views` is None.
        """
        return self.viewing.index(sample_id, epoch, view)

    def view_images(self, sample_id: Tensor, view_index: Tensor) -> Tensor:
        """Return any views (N,) of the training images (N,), as a training batch has them."""
        if self._viewer is None or self._viewer.device != self.device:
            self._viewer = self.train_loader(self._splits["train"])
        return render(self._viewer, sample_id, view_index, self.image_shape)

    def subset(self, split: str, sample_id: Tensor) -> Any:
        """Return what `eval_loader` takes for some images of a split: "train", "val" or "test".

        Args:
            split: after `setup`.
            sample_id: (N,) positions in it.
        """
        return self._splits[split][sample_id]

    def load(self) -> tuple[Any, Any]:
        """Return the official (training, test) `Images` or `Files`, before the split."""
        raise NotImplementedError

    def split(self) -> dict[str, Any]:
        """Return what is trained on, validated on and tested on."""
        official, test = self.load()
        train_ids, val_ids = split_ids(official.targets, self.val_size, self.split_seed)
        return {"train": official[train_ids], "val": official[val_ids], "test": test}

    def train_loader(self, split: Any) -> Any:
        """Return the shuffled, augmented batches of a split, an `EpochLoader`."""
        raise NotImplementedError

    def eval_loader(self, split: Any) -> Any:
        """Return the batches of a split as it is, in order."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Load the data and split it; a second call does nothing.

        Raises:
            DataError: if the name of a class is not one line of text.
        """
        if self._splits:
            return
        splits = self.split()
        check_names(self.class_names, f"data ({self.dataset_name})")
        self._splits = splits
        self.train_targets = self._splits["train"].targets
        if self.labels_per_class:
            self.labelled = labelled_ids(self.train_targets, self.labels_per_class, self.seed)
        self.fingerprint = fingerprint(
            *(part for split in self._splits.values() for part in split.identity()),
            *(self.class_names, self.image_size, self.mean, self.std),
        )

    def train_dataloader(self) -> Any:
        """Return the shuffled and augmented batches of the training split."""
        overfit_batches = getattr(self.trainer, "overfit_batches", 0)
        if overfit_batches:
            raise ConfigError(
                f"trainer.overfit_batches={overfit_batches}: every epoch has an order "
                "of its own, so these would be other images each time. Fix: leave it out"
            )
        split = self._splits["train"]
        if self.labelled is not None:
            split = shown(split, self.labelled, self.labels)
        loader = self.train_loader(split)
        if trainer := self.trainer:
            # The epoch Lightning sets is one ahead after a resume from an epoch's end where
            # max_steps is given; the one it reports is right.
            loader.clock = lambda: trainer.current_epoch
        return loader

    def val_dataloader(self) -> Any:
        """Return the validation batches, part of the official training set."""
        return self.eval_loader(self._splits["val"])

    def test_dataloader(self) -> Any:
        """Return the batches of the test split, in order and not augmented."""
        return self.eval_loader(self._splits["test"])
