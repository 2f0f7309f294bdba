"""Any image classifier of torchvision by name, with its own stem or one for small images."""

from torch import nn
from torchvision import models

from potstill.errors import ConfigError, nearest
from potstill.models.build import BUILDER_RANGES, finish, resolve_stem
from potstill.models.published import find_published, load_published
from potstill.models.stems import fit_cifar_stem
from potstill.models.vgg import PLANS, cifar_vgg
from potstill.models.vit import vision_transformer
from potstill.models.weights import is_path

# These return auxiliary outputs while training, which no loss here expects.
WITH_AUXILIARY_OUTPUTS = {"googlenet", "inception_v3"}
NOT_IN_TORCHVISION = {"vit_tiny", "vgg8", "vgg8_bn"}


RANGES = {**BUILDER_RANGES, "name": "not empty"}


def torchvision_model(
    name: str,
    num_classes: int,
    stem: str = "auto",
    image_size: int = 32,
    weights: str | None = None,
) -> nn.Module:
    """Return torchvision's network `name`; also vit_tiny, vgg8 and vgg8_bn of the literature.

    `weights` is a file, or torchvision's own name (IMAGENET1K_V2, DEFAULT), which is fetched
    once into torch's hub folder and needs the ImageNet stem; for a number of classes other than
    the published one the classifier is a fresh one.

    Raises:
        ConfigError: if name, stem, image size and weights do not go together.
        DataError: if the weights are missing, damaged or do not fit.
    """
    stem = resolve_stem(stem, image_size)
    known = model_names()
    if name not in known:
        raise ConfigError(f"name={name}: no such network. Fix: name={nearest(name, known)}")
    if weights is None or is_path(weights):
        return finish(_construct(name, num_classes, stem, image_size), weights)
    entry = find_published(name, weights, stem, image_size)
    model = finish(_construct(name, num_classes, stem, image_size), None)
    load_published(model, entry)
    return model


def model_names() -> list[str]:
    """Return every name that `torchvision_model` takes."""
    names = {*models.list_models(module=models), *NOT_IN_TORCHVISION} - WITH_AUXILIARY_OUTPUTS
    return sorted(names)


def _construct(name: str, num_classes: int, stem: str, image_size: int) -> nn.Module:
    if name.startswith("vit_"):
        return vision_transformer(name, num_classes, stem, image_size)
    if stem == "cifar" and name.removesuffix("_bn") in PLANS:
        return cifar_vgg(name, num_classes)
    if name in NOT_IN_TORCHVISION:
        raise ConfigError(f"stem=imagenet: {name} is a network for CIFAR. Fix: stem=cifar")
    model = models.get_model(name, num_classes=num_classes)
    if stem == "cifar":
        fit_cifar_stem(model, name)
    return model
