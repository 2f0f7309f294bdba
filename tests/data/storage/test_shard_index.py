"""The manifest and the indexes: as they were written, or refused."""

import hashlib
import json

import numpy as np
import pytest
import torch

from potstill.data.storage.shard_index import (
    Chunk,
    Index,
    ShardManifest,
    ShardPart,
    digest,
    read_index,
)
from potstill.errors import DataError
from potstill.integrity.sealed import seal

MANIFEST = ShardManifest(
    ("cat", "dog"), {"train": ShardPart((Chunk("train/a.bin", 40),), "t.st", "ab")}
)
INDEX = Index(
    names=np.array([b"train/cat/1.JPEG", b"train/dog/a longer name.png"]),
    targets=torch.tensor([0, 1]),
    sizes=torch.tensor([5, 7]),
    chunk=torch.tensor([0, 0]),
    begin=torch.tensor([12, 30]),
    digest=torch.tensor([-(2**63), 2**63 - 1]),
)


def test_a_manifest_comes_back_as_it_was():
    assert ShardManifest.from_bytes(MANIFEST.to_text().encode(), "here") == MANIFEST
    assert MANIFEST.size == 40


def test_an_index_comes_back_as_it_was(tmp_path):
    (tmp_path / "t.st").write_bytes(INDEX.to_bytes())
    part = ShardPart((), "t.st", hashlib.sha256(INDEX.to_bytes()).hexdigest())
    index = read_index(part, tmp_path.__truediv__, "here")
    assert index.names.tobytes() == INDEX.names.tobytes()
    assert index.names.dtype == INDEX.names.dtype
    for name in ("targets", "sizes", "chunk", "begin", "digest"):
        assert torch.equal(getattr(index, name), getattr(INDEX, name))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("dog", "dig"),
        lambda text: text.replace("40", "41"),
        lambda text: text[:-9],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: "",
    ],
)
def test_a_changed_manifest_is_refused(change):
    data = change(MANIFEST.to_text()).encode()
    with pytest.raises(DataError, match=r"data.root=here: manifest.json(:| is) damaged"):
        ShardManifest.from_bytes(data, "here")


def test_a_manifest_of_another_version_is_refused():
    body = json.loads(MANIFEST.to_text())
    del body["version"], body["content_sha256"]
    with pytest.raises(DataError, match="is of version 9, this potstill reads up to 2"):
        ShardManifest.from_bytes(seal(body, 9).encode(), "here")


def test_a_manifest_of_the_first_version_is_read():
    body = json.loads(MANIFEST.to_text()) | {"version": 1}
    del body["content_sha256"]
    body["sha256"] = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    assert ShardManifest.from_bytes(json.dumps(body).encode(), "here") == MANIFEST
    body["class_names"][0] = "dig"
    with pytest.raises(DataError, match="its checksum does not fit"):
        ShardManifest.from_bytes(json.dumps(body).encode(), "here")


def test_a_changed_index_is_refused(tmp_path):
    data = INDEX.to_bytes()
    (tmp_path / "t.st").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    part = ShardPart((), "t.st", hashlib.sha256(data).hexdigest())
    with pytest.raises(DataError, match=r"t.st is damaged or was changed \(its checksum"):
        read_index(part, tmp_path.__truediv__, "here")


def test_the_digest_is_blake2b():
    whole = hashlib.blake2b(b"an image", digest_size=8).digest()
    assert digest(b"an image") == digest(memoryview(b"an image"))
    assert digest(b"an image").to_bytes(8, "big", signed=True) == whole
