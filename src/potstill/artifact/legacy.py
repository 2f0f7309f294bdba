"""Reading of files from before names stood for code: one table of their module paths."""

from typing import Any

from potstill.artifact.transforms import INT8_DYNAMIC, INT8_STATIC, PRUNE_CHANNELS
from potstill.errors import DataError

# What had a module path in artifacts and in the keys of kept teachers, by its name.
MODULE_PATHS = {
    "cifar_resnet": "potstill.models.cifar_resnet.cifar_resnet",
    "cifar_resnet_x4": "potstill.models.cifar_resnet_x4.cifar_resnet_x4",
    "small_cnn": "potstill.models.small_cnn.small_cnn",
    "timm_model": "potstill.models.timm.timm_model",
    "tiny_cnn": "potstill.models.tiny_cnn.tiny_cnn",
    "torchvision_model": "potstill.models.torchvision.torchvision_model",
    "wide_resnet": "potstill.models.wide_resnet.wide_resnet",
    "TeacherEnsemble": "potstill.teacher.ensemble.TeacherEnsemble",
    "load_network": "potstill.artifact.load_network",
    "constant": "potstill.lr.constant",
    "cosine": "potstill.lr.cosine",
    "step": "potstill.lr.step",
}
NAMES = {path: name for name, path in MODULE_PATHS.items()}
_QUANTIZED = {"static": INT8_STATIC, "dynamic": INT8_DYNAMIC}


def with_module_paths(value: Any) -> Any:
    """Return settings whose code has names as they were written when it had module paths."""
    if isinstance(value, dict):
        return {
            k: MODULE_PATHS.get(v, v) if k == "_target_" else with_module_paths(v)
            for k, v in value.items()
        }
    return [with_module_paths(item) for item in value] if isinstance(value, list) else value


def spec_of_recipe(recipe: Any, source: str) -> dict[str, Any]:
    """Return the JSON of a `ModelSpec` for the recipe in an older file's header.

    Raises:
        DataError: if it is none, or calls what was no builder.
    """
    keys = {"builder", "plan", "quantization"}
    if not isinstance(recipe, dict) or "builder" not in recipe or set(recipe) - keys:
        raise DataError(f"{source}: holds no network of ours. Fix: an artifact of a run")
    transforms: list[dict[str, Any]] = []
    if recipe.get("plan") is not None:
        transforms.append({"kind": PRUNE_CHANNELS, "plan": recipe["plan"]})
    if recipe.get("quantization") is not None:
        kind = recipe["quantization"].get("kind")
        transforms.append(recipe["quantization"] | {"kind": _QUANTIZED.get(kind, str(kind))})
    return {**_with_names(recipe["builder"], source), "transforms": transforms}


def _with_names(value: Any, source: str) -> Any:
    if isinstance(value, list):
        return [_with_names(item, source) for item in value]
    if not isinstance(value, dict):
        return value
    inner = {key: _with_names(item, source) for key, item in value.items() if key != "_target_"}
    if "_target_" not in value:
        return inner
    path = value["_target_"]
    if not isinstance(path, str) or path not in NAMES:
        raise DataError(
            f"{source}: wants to call {path!r}, which was no builder of potstill.models. "
            "Fix: an artifact from a source you trust"
        )
    return {"builder": NAMES[path], "kwargs": inner}
