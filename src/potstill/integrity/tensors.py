"""Safetensors files of ours: tensors, a sealed header, and in it the sha256 of the tensors."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from potstill.errors import DataError
from potstill.integrity.sealed import CHECKSUM as SEAL
from potstill.integrity.sealed import seal, unseal

KEY = "potstill"  # one key in the file's metadata: the order of several is not fixed
CHECKSUM = "tensors_sha256"


def sha256_of_state(state: Mapping[str, Tensor]) -> str:
    """Return the sha256 over the names, types, shapes and bytes of tensors, by name.

    >>> sha256_of_state({"a": torch.zeros(1)}) == sha256_of_state({"a": torch.zeros(1, 1)})
    False
    """
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        value = value.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def save_tensors(state: Mapping[str, Tensor], header: Mapping[str, Any]) -> bytes:
    """Return a file of tensors with a header of plain values; equal ones are equal files."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    text = seal({**header, CHECKSUM: sha256_of_state(tensors)})
    return save(tensors, metadata={KEY: text})


def read_header(path: Path, source: str) -> dict[str, Any] | None:
    """Return the header that `save_tensors` wrote; None where the file is somebody else's.

    `source` names the file in messages. Nothing in it is executed.

    Raises:
        DataError: if it is damaged, or of a newer version.
    """
    try:
        with safe_open(path, "pt") as opened:
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise _damaged(source, error) from error
    if KEY not in metadata:
        if any(SEAL in text for text in metadata.values()):
            raise _damaged(source, f"its header is not under {KEY}")
        return None
    header: dict[str, Any] = unseal(metadata[KEY], source)
    return header


def load_tensors(path: Path, source: str) -> dict[str, Tensor]:
    """Return the tensors of a file; of one that is ours, compared with the sha256 in its header.

    Raises:
        DataError: if it is damaged.
    """
    header = read_header(path, source) or {}
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(source, error) from error
    if CHECKSUM in header and header[CHECKSUM] != sha256_of_state(tensors):
        raise _damaged(source, "the sha256 of its tensors differs")
    return tensors


def _damaged(source: str, reason: object) -> DataError:
    return DataError(f"{source}: damaged ({reason}). Fix: copy it again")
