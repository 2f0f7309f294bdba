"""Colour jitter of a whole batch, with factors and an order of its own for every image."""

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from potstill.data.loaders.transfer import to_device
from potstill.errors import ConfigError

DRAWS = 8  # the order of the four changes, then their factors


def check_strengths(strengths: tuple[float, ...]) -> None:
    """Raise where `strengths` are not those of brightness, contrast, saturation and hue."""
    numbers = all(isinstance(s, int | float) and 0 <= s < float("inf") for s in strengths)
    if len(strengths) != 4 or not numbers or strengths[3] > 0.5 or not any(strengths):
        raise ConfigError(
            f"data.color_jitter={list(strengths)}: must be the strengths of brightness, contrast, "
            "saturation and hue, 0 or more, hue up to 0.5. Fix: null, or like [0.4,0.4,0.4,0.1]"
        )


def jitter_factors(strengths: tuple[float, ...], uniform: Tensor) -> Tensor:
    """Return the factors (N, 4), each drawn evenly as torchvision's ColorJitter draws it.

    Brightness, contrast and saturation lie in [max(0, 1 - s), 1 + s], hue in [-s, s] turns.
    """
    low = [max(0.0, 1.0 - s) for s in strengths[:3]] + [-strengths[3]]
    high = [1.0 + s for s in strengths[:3]] + [strengths[3]]
    start, end = torch.tensor([low, high], device=uniform.device)
    return start + (end - start) * uniform


def color_jitter(images: Tensor, strengths: tuple[float, ...], uniform: Tensor) -> Tensor:
    """Change brightness, contrast, saturation and hue, in a random order for each image.

    Args:
        images: (N, 3, H, W) uint8; not changed.
        strengths: of brightness, contrast, saturation and hue; 0 leaves one out.
        uniform: (N, 8) in [0, 1): four that order the changes, then one for each factor.
    """
    order = uniform[:, :4].argsort(dim=1, stable=True)  # (N, 4)
    factors = jitter_factors(strengths, uniform[:, 4:])
    changes = (brightness, contrast, saturation, hue)
    images = images.clone()
    for place in order.unbind(1):
        for number, change in enumerate(changes):
            rows = (place == number).nonzero()[:, 0]
            if strengths[number] and len(rows):
                factor = to_device(factors[rows, number].view(-1, 1, 1, 1), images.device)
                rows = to_device(rows, images.device)
                images[rows] = change(images[rows], factor)
    return images


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply images (N, 3, H, W) uint8 by `factor` (N, 1, 1, 1)."""
    return _to_bytes(images * factor)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Move images (N, 3, H, W) uint8 away from their mean grey by `factor` (N, 1, 1, 1)."""
    # In float64 a sum of bytes is exact: the mean cannot depend on how many images there are.
    mean = TF.rgb_to_grayscale(images).double().mean(dim=(1, 2, 3), keepdim=True)
    return _blend(images, mean.float(), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Move images (N, 3, H, W) uint8 away from their own grey by `factor` (N, 1, 1, 1)."""
    return _blend(images, TF.rgb_to_grayscale(images).float(), factor)


def hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of images (N, 3, H, W) uint8 by `turns` (N, 1, 1, 1), value and chroma kept.

    In HSV a channel is `value - chroma * clamp(min(k, 4 - k), 0, 1)`, `k = (n + 6 hue) mod 6`,
    with n = 5, 3, 1 for red, green and blue (Smith 1978).
    """
    image = images.float() / 255
    value, low = image.amax(1, keepdim=True), image.amin(1, keepdim=True)
    chroma = value - low
    sixths = 6 * turns + _sixth(image, value, chroma)
    n = 5.0 - 2 * torch.arange(3, device=images.device).view(3, 1, 1)
    k = (n + sixths).remainder(6)
    image = value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)
    return (image * (256 - 1e-3)).to(torch.uint8)  # torchvision's way back to bytes


def _sixth(image: Tensor, value: Tensor, chroma: Tensor) -> Tensor:
    """Return the hue (N, 1, H, W) in sixths of a turn, up to whole turns; 0 for grey."""
    red, green, blue = image.split(1, dim=1)
    apart = chroma.where(chroma > 0, 1)
    blue_or_green = torch.where(value == green, 2 + (blue - red) / apart, 4 + (red - green) / apart)
    return torch.where(value == red, (green - blue) / apart, blue_or_green)


def _blend(images: Tensor, grey: Tensor, factor: Tensor) -> Tensor:
    return _to_bytes(images * factor + grey * (1 - factor))


def _to_bytes(images: Tensor) -> Tensor:
    return images.clamp_(0, 255).to(torch.uint8)
