"""Registry of trained teachers, by a hash of everything that their weights depend on."""

import hashlib
import json
from itertools import zip_longest
from pathlib import Path
from typing import Any

from torch import nn

from potstill.atomic import write_atomically
from potstill.errors import DataError
from potstill.integrity.facts import check_facts
from potstill.integrity.sealed import read_sealed, write_sealed
from potstill.integrity.tensors import read_header
from potstill.models.weights import load_weights


class RegisteredTeacher:
    """A folder `store_dir/<hash>` with the teacher's weights and metadata.

    Args:
        store_dir: the folder of all registered teachers.
        identity: everything that determines the weights: plain dicts, lists, numbers, strings.
    """

    def __init__(self, store_dir: str | Path, identity: dict[str, Any]) -> None:
        text = json.dumps(identity, sort_keys=True)
        self.identity = identity
        self.folder = Path(store_dir) / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.weights = self.folder / "teacher.safetensors"

    @property
    def exists(self) -> bool:
        """Whether a finished teacher of this identity is there (the metadata is written last)."""
        return (self.folder / "teacher.json").is_file()

    def metadata(self) -> dict[str, Any]:
        """Return the metadata: identity (as `recipe`), sha256, validation accuracy, class names.

        Raises:
            DataError: if the file is damaged.
        """
        path = self.folder / "teacher.json"
        try:
            found = read_sealed(path, fix="delete the folder")
            return {**found, "class_names": tuple(found["class_names"])}
        except (LookupError, TypeError) as error:
            raise DataError(f"{path}: damaged ({error!r}). Fix: delete the folder") from error

    def load(self, network: nn.Module, class_names: tuple[str, ...]) -> dict[str, Any]:
        """Load the registered weights into `network` and return the metadata.

        Raises:
            DataError: if the file is damaged or the teacher was trained on other classes.
        """
        metadata = self.metadata()
        if metadata["class_names"] != tuple(class_names):
            raise DataError(f"{self.folder}: knows other classes. Fix: delete the folder")
        found = self.weights.read_bytes() if self.weights.is_file() else b""
        if hashlib.sha256(found).hexdigest() != metadata.get("file_sha256"):
            raise DataError(f"{self.weights}: damaged (sha256 differs). Fix: delete the folder")
        load_weights(network, self.weights)
        return metadata

    def save(self, weights: bytes, metadata: dict[str, Any]) -> None:
        """Write the weights, then the metadata that completes them."""
        write_atomically(self.weights, weights)
        content = {
            **metadata,
            "recipe": self.identity,
            "file_sha256": hashlib.sha256(weights).hexdigest(),
        }
        write_sealed(self.folder / "teacher.json", content, indent=2)


def check_classes(weights: Path, class_names: tuple[str, ...]) -> None:
    """Raise where an artifact was trained on other classes than these.

    Other weights files name no classes and pass; the accuracy check is their test.

    Raises:
        DataError: naming the first class that differs.
    """
    if weights.suffix != ".safetensors":
        return
    source = f"module.teacher.weights={weights}"
    facts = read_header(weights, source) or {}
    check_facts(facts, source)
    theirs = tuple(facts.get("class_names", class_names))
    if theirs != tuple(class_names):
        pairs = zip_longest(theirs, class_names)
        first = next(pair for pair in pairs if pair[0] != pair[1])
        raise DataError(
            f"{source}: knows other classes, {first[0]!r} where the data "
            f"has {first[1]!r}. Fix: a teacher of these classes, in this order"
        )
