"""One file from which a network is built again without the experiment that made it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from potstill.artifact.spec import Recipe
from potstill.atomic import write_atomically
from potstill.config.instantiate import instantiate
from potstill.errors import ConfigError, DataError
from potstill.models.weights import fit_state, read_state
from potstill.pruning.channels.plan import ChannelPlan, apply_plan
from potstill.quantization.rebuild import quantized_shape

KEY = "potstill"  # one key in the header: the order of several is not fixed


@dataclass(frozen=True)
class Artifact:
    """What a file says of itself.

    Attributes:
        recipe: how the network is built; None for one that only its experiment can build.
        facts: `class_names`, `mean`, `std`, `image_shape`, and what else a user needs to know.
        source: where it came from: run, stage, seed, hashes, versions.
    """

    recipe: Recipe | None
    facts: dict[str, Any]
    source: dict[str, Any] = field(default_factory=dict)


def artifact_bytes(network: nn.Module, artifact: Artifact) -> bytes:
    """Return the safetensors file of a network; equal networks are equal files."""
    state = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    header = {
        **artifact.facts,
        "recipe": artifact.recipe.to_json() if artifact.recipe else None,
        "source": artifact.source,
    }
    return save(state, metadata={KEY: json.dumps(header)})


def save_artifact(path: Path, network: nn.Module, artifact: Artifact) -> Path:
    """Write the file, whole or not at all."""
    return write_atomically(path, artifact_bytes(network, artifact))


def read_artifact(path: str | Path) -> Artifact:
    """Return what a file says of itself; nothing in it is executed.

    Raises:
        DataError: if it is missing, damaged, or says nothing.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"path={path}: no such file. Fix: NAME.safetensors of a run's folder")
    try:
        with safe_open(file, "pt") as opened:
            header = json.loads((opened.metadata() or {}).get(KEY, "null"))
    except (SafetensorError, ValueError, OSError) as error:
        raise DataError(f"path={path}: damaged ({error}). Fix: copy the file again") from error
    if not isinstance(header, dict):
        raise DataError(f"path={path}: weights only, no recipe. Fix: an artifact of a run")
    recipe, source = header.pop("recipe", None), header.pop("source", {})
    return Artifact(Recipe.from_json(recipe, str(path)) if recipe else None, header, source)


def load_artifact(path: str | Path) -> tuple[nn.Module, Artifact]:
    """Return the network in a file, in eval mode, and what the file says of it.

    Raises:
        DataError: if the file is damaged or has no recipe.
    """
    artifact = read_artifact(path)
    if artifact.recipe is None:
        raise DataError(
            f"path={path}: this network cannot be built without its experiment. "
            "Fix: load its weights into the network the experiment builds"
        )
    network = build(artifact.recipe)
    fit_state(network, read_state(path), path)
    return network.eval(), artifact


def build(recipe: Recipe) -> nn.Module:
    """Return a network of this shape with weights that mean nothing yet."""
    network: nn.Module = instantiate(recipe.builder, "module.student")
    if recipe.plan is not None:
        network = apply_plan(network, ChannelPlan.from_json(recipe.plan))
    if recipe.quantization is not None:
        network = quantized_shape(network, recipe.quantization)
    return network


def load_network(
    path: str, num_classes: int | None = None, image_size: int | None = None
) -> nn.Module:
    """Return the network in an artifact, to train it on: `model@module.student=artifact`.

    Args:
        path: the file.
        num_classes: what the data has; None for no check.
        image_size: what the data has; None for no check.

    Raises:
        ConfigError: if it is quantized already, or made for other classes or images.
        DataError: if the file is damaged or has no recipe.
    """
    network, artifact = load_artifact(path)
    assert artifact.recipe is not None
    if artifact.recipe.quantization is not None:
        raise ConfigError(
            f"path={path}: is in integers, which do not train. "
            "Fix: the artifact of the stage before"
        )
    found = {"num_classes": len(artifact.facts["class_names"])}
    found["image_size"] = artifact.facts["image_shape"][-1]
    for name, wanted in (("num_classes", num_classes), ("image_size", image_size)):
        if wanted is not None and wanted != found[name]:
            raise ConfigError(
                f"path={path}: made for {name}={found[name]}, the data has {wanted}. "
                f"Fix: data of {name}={found[name]}"
            )
    return network.train()
