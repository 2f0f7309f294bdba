"""Vision transformers of torchvision at any image and patch size (arXiv:2010.11929)."""

from torchvision.models.vision_transformer import VisionTransformer

from potstill.errors import ConfigError

CIFAR_PATCH = 4

# Table 1 of the paper; tiny is DeiT's (Touvron et al. 2021, arXiv:2012.12877).
SIZES: dict[str, dict[str, int]] = {
    "tiny": {"num_layers": 12, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768},
    "b": {"num_layers": 12, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072},
    "l": {"num_layers": 24, "num_heads": 16, "hidden_dim": 1024, "mlp_dim": 4096},
    "h": {"num_layers": 32, "num_heads": 16, "hidden_dim": 1280, "mlp_dim": 5120},
}


def vision_transformer(
    name: str, num_classes: int, stem: str, image_size: int
) -> VisionTransformer:
    """Return `name` (vit_<size>_<patch>; vit_tiny has 16) for images of `image_size` pixels.

    The CIFAR stem cuts patches of 4 pixels whatever the name.

    Raises:
        ConfigError: if the image is no whole number of patches wide.
    """
    size, _, patch = name.removeprefix("vit_").partition("_")
    patch_size = CIFAR_PATCH if stem == "cifar" else int(patch or 16)
    if image_size % patch_size:
        below = max(image_size // patch_size, 1) * patch_size
        raise ConfigError(
            f"image_size={image_size}: {name} cuts patches of {patch_size} pixels. "
            f"Fix: image_size={below} or another multiple of {patch_size}"
        )
    return VisionTransformer(
        image_size=image_size, patch_size=patch_size, num_classes=num_classes, **SIZES[size]
    )
