"""One flipped bit in any file that is written and read back is noticed, 200 times of 200."""

import random

import pytest
import torch
from torch import nn

from potstill.artifact.file import Artifact, load_artifact, save_artifact
from potstill.artifact.spec import ModelSpec
from potstill.data.storage.shard_index import Chunk, ShardManifest, ShardPart
from potstill.errors import DataError
from potstill.integrity.sealed import read_sealed, write_sealed
from potstill.integrity.sums import check_sum, write_sum
from potstill.integrity.tensors import load_tensors, save_tensors
from potstill.models.tiny_cnn import tiny_cnn
from potstill.pipeline.stages.context import StageContext
from potstill.report.read import read_run
from potstill.teacher.cache.encoding import Encoding
from potstill.teacher.cache.manifest import CacheManifest
from potstill.teacher.cache.segments import read_segment, write_segment
from potstill.teacher.registry import RegisteredTeacher
from potstill.training.checkpoints import files
from potstill.training.checkpoints.identity import load_identity, save_identity
from tests.support.sample_runs import write_exports, write_json

FLIPS = 200
FACTS = {"class_names": list("abcde"), "image_shape": [3, 16, 16], "mean": [0.5] * 3}
NODE = {"_target_": "potstill.models.tiny_cnn.tiny_cnn", "num_classes": 5, "image_size": 16}
STORE = CacheManifest("a" * 64, "d", "none", 16, (0.5,), (0.25,), None, 4, 1, 5, "float32")


def artifact(folder):
    spec = ModelSpec.of(NODE)
    path = save_artifact(
        folder / "net.safetensors", tiny_cnn(5, image_size=16), Artifact(spec, FACTS)
    )
    return path, lambda: load_artifact(path)


def weights(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(save_tensors(nn.Linear(8, 4).state_dict(), {"order": ["resize"]}))
    return path, lambda: load_tensors(path, "file")


def teacher(folder):
    kept = RegisteredTeacher(folder, {"model": {"width": 4}, "lr": 1e-05, "seed": 0})
    kept.save(save_tensors(nn.Linear(2, 2).state_dict(), {}), {"class_names": ["é", "b"]})
    return kept.folder / "teacher.json", kept.metadata


def identity(folder):
    save_identity(folder, {"module.lr": 1e-05, "data.seed": 0, "environment.torch": "2"})
    return folder / "identity.json", lambda: load_identity(folder)


def decision(folder):
    context = StageContext((3, 8, 8), folder=folder, previous=folder)
    context.decided("pruned.json", lambda: {"plan": {"channels": [[0, 2]]}, "share": 0.1})
    return folder / "pruned.json", lambda: context.before("pruned.json")


def store(folder):
    STORE.write(folder)
    return folder / "manifest.json", lambda: STORE.check(folder)


def segment(folder):
    encoding = Encoding(5, "float32", None, 0)
    path = write_segment(folder, torch.arange(4), encoding.empty(4))
    return path, lambda: read_segment(path, encoding, 4)


def shards(folder):
    part = ShardPart((Chunk("a.bin", 40),), "train.safetensors", "0" * 64)
    path = folder / "manifest.json"
    path.write_text(ShardManifest(("cat", "dög"), {"train": part}).to_text())
    return path, lambda: ShardManifest.from_bytes(path.read_bytes(), "here")


def checkpoint(folder):
    path = folder / files.name_of(7)
    files.write({"state_dict": {"w": torch.ones(3)}, "global_step": 7, "epoch": 2}, path)
    return path, lambda: files.read(path)


def manifest(folder):
    path, read = checkpoint(folder)
    return path.with_suffix(".json"), read


def report(folder):
    run = write_json(folder / "run")
    return run / "report.json", lambda: read_run(run)


def exports(folder):
    run = write_json(folder / "run")
    write_exports(run)
    return run / "export" / "exports.json", lambda: read_run(run)


def exported(folder):
    """Any binary file: formats have no place for a checksum of their own."""
    path = folder / "net.onnx"
    path.write_bytes(random.Random(1).randbytes(500))
    write_sum(path)
    return path, lambda: check_sum(path)


def sum_beside(folder):
    path, read = exported(folder)
    return path.with_name("net.onnx.sha256"), read


def facts_inside(folder):
    """Of an exported file, whose text is in its metadata."""
    path = write_sealed(folder / "about.json", FACTS, ensure_ascii=False)
    return path, lambda: read_sealed(path)


KINDS = [artifact, weights, teacher, identity, decision, store, segment, shards, checkpoint]
KINDS += [manifest, report, exports, exported, sum_beside, facts_inside]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_flipped_bit_is_noticed(kind, tmp_path):
    path, read = kind(tmp_path)
    read()  # as it was written
    content, draw = path.read_bytes(), random.Random(0)
    for bit in (draw.randrange(8 * len(content)) for _ in range(FLIPS)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(DataError) as caught:
            read()
        assert "\n" not in str(caught.value)
        assert "Fix: " in str(caught.value)


def test_the_checkpoint_before_a_flipped_one_is_used(tmp_path):
    older, newer = tmp_path / files.name_of(9), tmp_path / files.name_of(10)
    for step, path in ((9, older), (10, newer)):
        files.write({"state_dict": {}, "global_step": step}, path)
    for damaged in (newer.with_suffix(".json"), newer):
        content = bytearray(damaged.read_bytes())
        content[len(content) // 2] ^= 1
        damaged.write_bytes(content)
        assert files.last_good(tmp_path) == older
