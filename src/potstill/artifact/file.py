"""Artifact file, from which a network is built again without the experiment that made it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from potstill.artifact.build import build
from potstill.artifact.legacy import spec_of_recipe
from potstill.artifact.spec import ModelSpec
from potstill.atomic import write_atomically
from potstill.errors import ConfigError, DataError
from potstill.integrity.facts import check_facts
from potstill.integrity.tensors import CHECKSUM, read_header, save_tensors
from potstill.measure.counts import is_quantized, stored
from potstill.models.weights import fit_state, read_state

NEEDED = ("image_shape",)


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
    return save_tensors(stored(network), header)


def save_artifact(path: Path, network: nn.Module, artifact: Artifact) -> Path:
    """Write the file, whole or not at all."""
    return write_atomically(path, artifact_bytes(network, artifact))


def read_artifact(path: str | Path) -> Artifact:
    """Return the header of a file; nothing in it is executed.

    Raises:
        DataError: if it is missing, damaged, has no header, or one that no run writes.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"path={path}: no such file. Fix: NAME.safetensors of a run's folder")
    header = read_header(file, source := f"path={path}")
    if header is None:
        raise DataError(f"{source}: weights alone, no network. Fix: an artifact of a run")
    header.pop(CHECKSUM, None)
    recipe, values = header.pop("recipe", None), header.pop("spec", None)
    if recipe:  # of an older version
        values = spec_of_recipe(recipe, source)
    spec = ModelSpec.from_json(values, source) if values else None
    origin = header.pop("source", {})
    if not isinstance(origin, dict):
        raise DataError(f"{source}: source is not a mapping. Fix: an artifact of a run")
    check_facts(header, source, NEEDED)
    return Artifact(spec, header, origin)


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
    state = read_state(path)
    network = build(artifact.spec, f"path={path}", state)
    fit_state(network, state, path)
    return network.eval(), artifact


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
