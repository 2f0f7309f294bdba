"""The fifteen corruptions of CIFAR-10-C and ImageNet-C, applied to test images.

Hendrycks and Dietterich 2019, arXiv:1903.12261. The strengths of a severity are ImageNet-C's; on
CIFAR they are harsher than those of CIFAR-10-C, so accuracies compare with one another and not
with published ones on CIFAR-10-C.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from potstill.errors import ConfigError
from potstill.libraries import need

Batch = tuple[Tensor, Tensor, Tensor]  # image (N, C, H, W), target (N,), sample_id (N,)
SEVERITY = 3
SMALLEST = 32
TYPES = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur"),
    *("motion_blur", "zoom_blur", "snow", "frost", "fog", "brightness", "contrast"),
    *("elastic_transform", "pixelate", "jpeg_compression"),
)
# These draw from a generator of their own, which has to be told.
TAKE_A_SEED = ("impulse_noise", "glass_blur")


def corrupt(images: np.ndarray, name: str, ids: np.ndarray, severity: int = SEVERITY) -> np.ndarray:
    """Return corrupted images (N, H, W, 3) uint8.

    What is drawn depends on an image's id and the corruption alone: not on the batch, nor on
    what else was drawn. numpy's global generator is left as it was.

    Raises:
        ConfigError: if the library is not installed, or the images are under 32 pixels.
    """
    library = need("imagecorruptions", "--robust", "robust")
    if min(images.shape[1:3]) < SMALLEST:
        raise ConfigError(
            f"--robust: images of {min(images.shape[1:3])} pixels, and corruptions are made "
            f"for {SMALLEST} or more. Fix: other data"
        )
    done = np.empty_like(images)
    with _global_generator():
        for place, sample_id in enumerate(ids.tolist()):
            seed = int(np.random.SeedSequence([TYPES.index(name), sample_id]).generate_state(1)[0])
            np.random.seed(seed)
            extra: dict[str, Any] = {"seed": seed} if name in TAKE_A_SEED else {}
            done[place] = library.corrupt(images[place], severity, name, **extra)
    return done


def corrupted(data: Any, name: str, severity: int) -> Iterator[Batch]:
    """Yield the test batches of `data` with their images corrupted before normalisation."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (data.mean, data.std))
    for image, target, sample_id in data.test_dataloader():
        # Bytes once more: they were bytes before they were normalised.
        images = ((image.cpu() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        rows = images.permute(0, 2, 3, 1).contiguous().numpy()
        done = torch.from_numpy(corrupt(rows, name, np.asarray(sample_id.cpu()), severity))
        yield data.normalize(done.permute(0, 3, 1, 2)), target, sample_id


def library_version() -> str:
    """Return the name and version of what makes the corruptions."""
    name = "imagecorruptions-imaug"
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return "imagecorruptions"


@contextmanager
def _global_generator() -> Iterator[None]:
    state = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(state)
