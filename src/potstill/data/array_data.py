"""The data module for images that fit in memory."""

from typing import Any, ClassVar

from potstill.config.ranges import Ranges
from potstill.data.datamodule import ImageData
from potstill.data.loaders.in_memory import ArrayEvalLoader, ArrayLoader, Images
from potstill.data.transforms.crop_flip import Augment


class ArrayData(ImageData):
    """Images held in memory as uint8; subclasses implement `load`.

    Args:
        crop_padding: pixels of black on each side before a random crop; 0 for no crop.
        flip: mirror half of the images.
        settings: see `ImageData`.
    """

    ranges: ClassVar[Ranges] = {"crop_padding": "[0, inf)"}

    def __init__(self, crop_padding: int = 0, flip: bool = False, **settings: Any) -> None:
        super().__init__(**settings)
        self.set_augmentation(Augment(self.seed, crop_padding, flip, self.distort))

    def train_loader(self, split: Images) -> ArrayLoader:
        """Return the shuffled, augmented batches of a split."""
        return ArrayLoader(
            split.to(self.device), self.batch_size, self.viewing, self.normalize, self.drop_last
        )

    def eval_loader(self, split: Images) -> ArrayEvalLoader:
        """Return the batches of a split as it is, in order."""
        return ArrayEvalLoader(split.to(self.device), self.eval_batch_size, self.normalize)
