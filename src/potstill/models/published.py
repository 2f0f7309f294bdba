"""Weights that torchvision publishes: found by name, fetched once, checked, loaded."""

import hashlib
import re
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import nn
from torch.hub import download_url_to_file
from torchvision.models import WeightsEnum, get_model_weights

from potstill.errors import ConfigError, DataError, nearest
from potstill.models.weights import fit_state, read_state

HASH = re.compile(r"-([a-f0-9]{8,})\.")  # torchvision's file names end in the sha256's start


def find_published(name: str, weights: str, stem: str, image_size: int) -> WeightsEnum:
    """Return torchvision's entry `weights` (such as IMAGENET1K_V2) for network `name`.

    Raises:
        ConfigError: if there is none, or it was trained with another stem or image size.
    """
    try:
        entries = get_model_weights(name)
    except ValueError:
        raise ConfigError(
            f"weights={weights}: torchvision publishes none for {name}. Fix: weights=null"
        ) from None
    if weights not in entries.__members__:
        raise ConfigError(
            f"weights={weights}: torchvision has no such weights for {name}. "
            f"Fix: weights={nearest(weights, entries.__members__)}, or a file"
        )
    if stem != "imagenet":
        raise ConfigError(
            f"weights={weights}: trained with the ImageNet stem, and the network has the one for "
            "small images. Fix: stem=imagenet, or weights=null"
        )
    entry = entries[weights]
    trained_at = entry.meta["min_size"][0]
    if name.startswith("vit_") and image_size != trained_at:
        raise ConfigError(
            f"image_size={image_size}: {weights} has position embeddings for {trained_at} pixels. "
            f"Fix: image_size={trained_at}, or weights=null"
        )
    return entry


def load_published(model: nn.Module, entry: WeightsEnum) -> None:
    """Load `entry`; a classifier for another number of classes stays as it was drawn.

    Raises:
        DataError: if the file can neither be found nor downloaded, or is damaged.
    """
    file = _fetch(entry)
    own, num_published = model.state_dict(), len(entry.meta["categories"])
    state = {}
    for key, value in read_state(file).items():
        # DenseNet's files are older than its present names.
        name = re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2", key)
        classifies = name in own and value.shape != own[name].shape
        if classifies and value.shape == (num_published, *own[name].shape[1:]):
            value = own[name]
        state[name] = value
    fit_state(model, state, file)


def _fetch(entry: WeightsEnum) -> Path:
    file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(entry.url).path).name)
    found = HASH.search(file.name)
    prefix = found.group(1) if found else None
    if not file.is_file():
        _download(entry, file, prefix)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if prefix and not digest.startswith(prefix):
        raise DataError(
            f"weights={entry.name}: {file} is damaged, its sha256 should start with {prefix}. "
            "Fix: delete the file and run again"
        )
    return file


def _download(entry: WeightsEnum, file: Path, prefix: str | None) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(entry.url, str(file), prefix, progress=False)
    except (OSError, RuntimeError) as error:  # no network; a file that is not what was promised
        raise DataError(
            f"weights={entry.name}: looked for {file} and could not download {entry.url} "
            f"({error}). Fix: download it elsewhere, copy it there, or use weights=null"
        ) from error
