"""Writing shards: litdata reads what was in the files, and nothing half-written counts."""

import json
import sys

import pytest
from litdata import StreamingDataset

from potstill.data.storage import write_shards as module
from potstill.data.storage.write_shards import main, write_shards
from potstill.errors import ConfigError, DataError
from tests.support.image_folders import CLASSES, make_folder
from tests.support.shard_folders import make_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("part", ["train", "val"])
def test_litdata_reads_the_bytes_target_and_name_of_every_file(shards, part):
    folder = shards.parent / "folder"
    items = StreamingDataset(str(shards / part))
    found = {bytes(name).decode(): (bytes(content), target) for content, target, name in items}
    wanted = {
        str(path.relative_to(folder)): (path.read_bytes(), CLASSES.index(path.parent.name))
        for path in (folder / part).rglob("*.*")
    }
    assert found == wanted


def test_chunks_are_mixed_and_no_larger_than_asked(shards):
    manifest = json.loads((shards / "manifest.json").read_text())
    chunks = manifest["parts"]["train"]["chunks"]
    assert len(chunks) == 4
    for chunk in chunks:
        content = (shards / chunk["name"]).read_bytes()
        assert len(content) == chunk["size"] < 6100
        assert sum(f"train/{name}/".encode() in content for name in CLASSES) >= 2


def test_the_same_folder_gives_the_same_shards(shards, tmp_path):
    write_shards(shards.parent / "folder", tmp_path / "again", chunk_mb=0.006)
    assert (tmp_path / "again/manifest.json").read_text() == (shards / "manifest.json").read_text()


def test_a_folder_that_holds_anything_is_left_alone(shards, tmp_path, capsys):
    (tmp_path / "note").write_text("mine")
    assert main([str(shards.parent / "folder"), str(tmp_path)]) == 2
    error = capsys.readouterr().err.splitlines()
    assert error == [f"error: OUT={tmp_path}: is not empty. Fix: another folder, or delete it"]
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


def test_a_file_that_grows_meanwhile_is_named_and_no_manifest_written(tmp_path, monkeypatch):
    folder, read = make_folder(tmp_path / "folder", train=2, val=1), module._content
    monkeypatch.setattr(
        module, "_content", lambda path: read(path) + b"." * (path.name == "n02_1.JPEG")
    )
    with pytest.raises(DataError, match=r"train/n02/n02_1.JPEG did not come back from train/chunk"):
        write_shards(folder, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_what_cannot_be_is_said_before_anything_is_written(tmp_path, monkeypatch, capsys):
    with pytest.raises(ConfigError, match="--chunk-mb=0:"):
        write_shards(tmp_path, tmp_path / "out", chunk_mb=0)
    assert main([str(tmp_path), str(tmp_path / "out")]) == 3
    assert "there is no folder train" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "litdata", None)
    with pytest.raises(ConfigError, match=r"needs litdata.*pip install 'potstill\[shards\]'"):
        write_shards(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_image_larger_than_a_chunk_has_one_of_its_own(tmp_path):
    folder = make_folder(tmp_path / "folder", train=1, val=1)
    manifest = write_shards(folder, tmp_path / "out", chunk_mb=1e-5)
    assert [len(part.chunks) for part in manifest.parts.values()] == [3, 3]
