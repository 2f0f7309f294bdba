"""Any network of timm by name (Wightman 2019, github.com/huggingface/pytorch-image-models)."""

from types import ModuleType
from typing import Any

from torch import nn

from potstill.errors import ConfigError, DataError, nearest
from potstill.models.build import BUILDER_RANGES, check_stem, finish

PRETRAINED = "pretrained"


RANGES = {**BUILDER_RANGES, "model_name": "not empty"}


def timm_model(
    model_name: str,
    num_classes: int,
    stem: str = "auto",
    image_size: int = 32,
    weights: str | None = None,
    **options: Any,
) -> nn.Module:
    """Return timm's network `model_name`, such as resnet10t or vit_tiny_patch16_224.

    `weights` is a file, or "pretrained" for timm's own; `options` go to `timm.create_model`
    as they are (drop_rate, patch_size, ...). A network made for one image size is made for
    `image_size`; the stem is timm's.

    Raises:
        ConfigError: if timm is missing or does not know the name or an option.
        DataError: if the weights are missing, damaged or do not fit.
    """
    timm = _timm()
    check_stem(stem, "a timm network")
    _check_name(timm, model_name, weights)
    if timm.models.get_pretrained_cfg(model_name).fixed_input_size:
        options = {"img_size": image_size} | options
    model = _create(timm, model_name, weights == PRETRAINED, num_classes, options)
    return finish(model, None if weights == PRETRAINED else weights)


def _timm() -> ModuleType:
    try:
        import timm
    except ModuleNotFoundError:
        raise ConfigError("model=timm: timm is missing. Fix: pip install potstill[timm]") from None
    return timm


def _check_name(timm: ModuleType, model_name: str, weights: str | None) -> None:
    if not timm.is_model(model_name):
        raise ConfigError(
            f"model_name={model_name}: timm has no such network. "
            f"Fix: model_name={nearest(model_name, timm.list_models())}"
        )
    if weights == PRETRAINED and not timm.models.get_pretrained_cfg(model_name).has_weights:
        raise ConfigError(
            f"weights={PRETRAINED}: timm has none for {model_name}. Fix: weights=null"
        )


def _create(
    timm: ModuleType, model_name: str, pretrained: bool, num_classes: int, options: dict[str, Any]
) -> nn.Module:
    try:
        return timm.create_model(
            model_name, pretrained=pretrained, num_classes=num_classes, **options
        )
    except (TypeError, AssertionError) as error:
        raise ConfigError(
            f"model_name={model_name}: timm refuses {options} ({error}). "
            "Fix: leave the option out, or choose another network"
        ) from error
    except Exception as error:
        if not pretrained:
            raise
        # The hub's client raises errors of several libraries where there is no network.
        reason = " ".join(str(error).split())
        raise DataError(
            f"weights={PRETRAINED}: could not fetch {model_name} from the hub ({reason}). "
            "Fix: fetch it where there is a network, or use weights=<file> or weights=null"
        ) from error
