"""Parts that every builder shares: the choice of a stem, weights, eval mode."""

from torch import nn

from potstill.errors import ConfigError
from potstill.models.weights import is_path, load_weights

STEMS = ("auto", "cifar", "imagenet")
LARGEST_CIFAR_IMAGE = 64


# Of what every builder takes, see `potstill.config.rules`.
BUILDER_RANGES = {
    "num_classes": "[1, inf)",
    "image_size": "[1, inf)",
    "stem": STEMS,
    "weights": "not empty",
}


def resolve_stem(stem: str, image_size: int) -> str:
    """Return "cifar" or "imagenet"; "auto" is "cifar" up to images of 64 pixels.

    Raises:
        ConfigError: if `stem` is none of the three.

    Example:
        >>> [resolve_stem("auto", size) for size in (32, 224)]
        ['cifar', 'imagenet']
    """
    if stem not in STEMS:
        raise ConfigError(f"stem={stem}: no such stem. Fix: stem={'|'.join(STEMS)}")
    if stem != "auto":
        return stem
    return "cifar" if image_size <= LARGEST_CIFAR_IMAGE else "imagenet"


def check_stem(stem: str, network: str, accepted: tuple[str, ...] = ("auto",)) -> None:
    """Raise ConfigError where `network`, which has one stem, is to have another."""
    if stem not in accepted:
        raise ConfigError(
            f"stem={stem}: {network} has one stem of its own, so this would change nothing. "
            f"Fix: stem={'|'.join(accepted)}"
        )


def initialise(model: nn.Module) -> None:
    """Draw every convolution as He et al. 2015 (arXiv:1502.01852): fan out, gain of a ReLU."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def finish(model: nn.Module, weights: str | None) -> nn.Module:
    """Return `model` with no in-place activation and, if `weights` is a path, those weights.

    Raises:
        ConfigError: if `weights` names no file.
        DataError: if the file is missing, damaged or does not fit.
    """
    for module in model.modules():
        # An in-place activation overwrites the output of the layer before it, which may be
        # the very layer that a head reads.
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    if weights is None:
        return model
    if not is_path(weights):
        raise ConfigError(
            f"weights={weights}: this network has no published weights of that name. "
            "Fix: weights=null or weights=<a .safetensors, .pt, .pth, .ckpt or .tar file>"
        )
    load_weights(model, weights)
    return model
