"""Identity of cached outputs: a mismatch is refused, naming the field."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from potstill.errors import ConfigError, DataError
from potstill.integrity.sealed import read_sealed, write_sealed
from potstill.teacher.cache.encoding import PRECISIONS, Encoding

FILE = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class CacheManifest:
    """Everything that decides a cached output. Two runs share a cache if all of it is equal.

    Attributes:
        teacher: sha256 of the teacher's weights.
        dataset: the data's fingerprint: images, labels, split and their order.
        augmentation: what is done to an image, without the seed.
        image_size: pixels, height and width.
        mean: of the normalisation, per channel.
        std: of the normalisation, per channel.
        seed: of the augmentation where the views depend on it; `None` for a finite set of views,
            whose index alone determines them.
        num_samples: images in the training split.
        num_views: views of each image.
        num_classes: K.
        precision: of the stored numbers, float16 or float32.
        top_k: how many logits are stored; `None` for all.
        dim_pooled: width of the pooled features; 0 where none are stored.
        arithmetic: how the teacher is run, such as "float32" or "bf16-mixed, folded".
        tolerance: how far a stored row may be from the teacher's, relative to its largest value.
        format: of the files.
        difference: between the arithmetic and the teacher's own, as measured when the store was
            begun; it is written and not compared.
    """

    teacher: str
    dataset: str
    augmentation: str
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    seed: int | None
    num_samples: int
    num_views: int
    num_classes: int
    precision: str = "float16"
    top_k: int | None = None
    dim_pooled: int = 0
    arithmetic: str = "float32"
    tolerance: float = 1e-3
    format: int = FORMAT
    difference: float = 0.0

    def __post_init__(self) -> None:
        """Check precision and top_k, which a config sets."""
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"teacher.precision={self.precision}: unknown. Fix: {' or '.join(PRECISIONS)}"
            )
        if self.top_k is not None and not 0 < self.top_k < self.num_classes:
            raise ConfigError(
                f"teacher.top_k={self.top_k}: of {self.num_classes} classes. Fix: from 1 to "
                f"{self.num_classes - 1}, or null for all"
            )

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The compared fields, as JSON gives them back."""
        fields = json.loads(json.dumps(asdict(self)))
        del fields["difference"]
        return fields

    @property
    def encoding(self) -> Encoding:
        """The encoding of outputs that the fields describe."""
        return Encoding(self.num_classes, self.precision, self.top_k, self.dim_pooled)

    @property
    def num_rows(self) -> int:
        """Number of outputs in a full cache."""
        return self.num_samples * self.num_views

    @property
    def folder_name(self) -> str:
        """The store's folder: the teacher's hash and the hash of the whole manifest."""
        text = json.dumps(self.fields, sort_keys=True)
        return f"{self.teacher[:16]}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def write(self, folder: Path) -> None:
        """Write the manifest into a new cache's folder; several processes write the same bytes."""
        content = self.fields | {"difference": self.difference}
        write_sealed(folder / FILE, content, indent=2)

    def differences(self, fields: dict[str, Any]) -> list[str]:
        """Return `name: stored -> this run's` for every field that is not the same."""
        return [
            f"{name}: {_short(fields.get(name))} -> {_short(mine)}"
            for name, mine in self.fields.items()
            if fields.get(name) != mine
        ]

    def check(self, folder: Path) -> None:
        """Raise unless the store in `folder` is this one.

        Raises:
            DataError: naming every field that differs, stored -> this run's.
        """
        if differences := self.differences(read_fields(folder)):
            raise DataError(
                f"teacher.store: {folder} holds other outputs ({'; '.join(differences)}). "
                "Fix: teacher.store=auto builds new ones beside them"
            )

    def nearest(self, store_dir: Path) -> Path | None:
        """Return the folder whose manifest differs in the fewest fields, if there is any."""
        folders = [path.parent for path in sorted(store_dir.glob(f"*/{FILE}"))]
        return min(folders, key=lambda f: len(self.differences(read_fields(f))), default=None)


def read_fields(folder: Path) -> dict[str, Any]:
    """Return a store's manifest.

    Raises:
        DataError: if it is damaged.
    """
    fields: dict[str, Any] = read_sealed(folder / FILE, fix="delete the folder")
    return fields


def _short(value: Any) -> str:
    text = json.dumps(value)
    is_hash = isinstance(value, str) and len(value) == 64 and " " not in value
    return f"{value[:12]}…" if is_hash else text
