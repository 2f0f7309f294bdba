"""Artifact file, from which a network is built again without the experiment that made it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from potstill.artifact.legacy import spec_of_recipe
from potstill.artifact.spec import ModelSpec
from potstill.artifact.transforms import rebuild
from potstill.atomic import write_atomically
from potstill.config.instantiate import instantiate
from potstill.errors import ConfigError, DataError
from potstill.measure.counts import is_quantized, stored
from potstill.models.weights import fit_state, read_state

KEY = "potstill"  # one key in the header: the order of several is not fixed


@dataclass(frozen=True)
class Artifact:
    """Header of an artifact.

    Attributes:
        spec: how the network is built; None for one that only its experiment can build.
        facts: `class_names` or `output`, `mean`, `std`, `image_shape`, and what else a user must
            know.
        source: where it came from: run, stage, seed, hashes, versions.
    """

    spec: ModelSpec | None
    facts: dict[str, Any]
    source: dict[str, Any] = field(default_factory=dict)


def artifact_bytes(network: nn.Module, artifact: Artifact) -> bytes:
    """Return the safetensors file of a network; equal networks are equal files."""
    header = {
        **artifact.facts,
        "spec": artifact.spec.to_json() if artifact.spec else None,
        "source": artifact.source,
    }
    return save(stored(network), metadata={KEY: json.dumps(header)})


def save_artifact(path: Path, network: nn.Module, artifact: Artifact) -> Path:
    """Write the file, whole or not at all."""
    return write_atomically(path, artifact_bytes(network, artifact))


def read_artifact(path: str | Path) -> Artifact:
    """Return the header of a file; nothing in it is executed.

    Raises:
        DataError: if it is missing, damaged, or has no header.
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
        raise DataError(f"path={path}: weights alone, no network. Fix: an artifact of a run")
    recipe, values = header.pop("recipe", None), header.pop("spec", None)
    if recipe:  # of an older version
        values = spec_of_recipe(recipe, str(path))
    spec = ModelSpec.from_json(values, str(path)) if values else None
    source = header.pop("source", {})
    return Artifact(spec, header, source)


def load_artifact(path: str | Path) -> tuple[nn.Module, Artifact]:
    """Return the network in a file, in eval mode, and the header of the file.

    Raises:
        DataError: if the file is damaged or does not hold how its network is built.
    """
    artifact = read_artifact(path)
    if artifact.spec is None:
        raise DataError(
            f"path={path}: this network cannot be built without its experiment. "
            "Fix: load its weights into the network the experiment builds"
        )
    network = build(artifact.spec)
    fit_state(network, read_state(path), path)
    return network.eval(), artifact


def build(spec: ModelSpec) -> nn.Module:
    """Return a network of this shape with weights that mean nothing yet."""
    network: nn.Module = instantiate(spec.node(), "module.student")
    for entry in spec.transforms:
        network = rebuild(network, entry)
    return network


def num_outputs(facts: dict[str, Any]) -> int:
    """Return how many numbers the network of a file gives for an image."""
    names = facts.get("class_names")
    return len(names) if names else int(facts["output"]["shape"][-1])


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
        DataError: if the file is damaged or does not hold how its network is built.
    """
    network, artifact = load_artifact(path)
    if is_quantized(network):
        raise ConfigError(
            f"path={path}: is quantized, and trains no further. "
            "Fix: the artifact of the stage before"
        )
    found = {"num_classes": num_outputs(artifact.facts)}
    found["image_size"] = artifact.facts["image_shape"][-1]
    for name, wanted in (("num_classes", num_classes), ("image_size", image_size)):
        if wanted is not None and wanted != found[name]:
            raise ConfigError(
                f"path={path}: made for {name}={found[name]}, the data has {wanted}. "
                f"Fix: data of {name}={found[name]}"
            )
    return network.train()
