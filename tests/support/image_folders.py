"""A small folder of images in ImageNet's layout."""

import numpy as np
from PIL import Image

CLASSES = ("n01", "n02", "n03")


def photograph(height, width, seed):
    """Return a smooth random image, (height, width, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def make_folder(root, train=8, val=4):
    """Write `train` and `val` images of each class, every third one grey."""
    for part, count in (("train", train), ("val", val)):
        for label, name in enumerate(CLASSES):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                photo = photograph(20 + 3 * number, 24 + label, seed=100 * label + number)
                image = Image.fromarray(photo if number % 3 else photo[..., 0])
                image.save(folder / f"{name}_{number}.{'JPEG' if number % 2 else 'png'}")
    return root
