"""Teachers kept, found again, and refused where they are not what they were."""

import json

import pytest
import torch
from safetensors.torch import save

from potstill.atomic import write_atomically
from potstill.errors import DataError
from potstill.integrity import sealed
from potstill.teacher import registry
from potstill.teacher.frozen import sha256_of
from potstill.teacher.registry import RegisteredTeacher

RECIPE = {"model": {"width": 4}, "epochs": 3, "seed": 0}
CLASSES = ("cat", "dog", "eel", "fox", "gnu")


@pytest.fixture
def store(tiny, tmp_path):
    """A store with one teacher in it."""
    there = RegisteredTeacher(tmp_path, RECIPE)
    there.save(save(tiny(4).state_dict()), {"class_names": list(CLASSES), "val_accuracy": 0.5})
    return there


def test_a_teacher_comes_back_bit_for_bit(tiny, store, tmp_path):
    again = RegisteredTeacher(
        str(tmp_path), dict(reversed(RECIPE.items()))
    )  # the order is no matter
    network = tiny(4, seed=7)
    assert again.exists
    record = again.load(network, CLASSES)
    assert sha256_of(network) == sha256_of(tiny(4))
    assert record["val_accuracy"] == 0.5
    assert record["recipe"] == RECIPE


@pytest.mark.parametrize(
    "other", [{"epochs": 4}, {"model": {"width": 8}}, {"seed": None}, {"more": 1}, {"epochs": 3.5}]
)
def test_another_recipe_is_another_teacher(store, tmp_path, other):
    there = RegisteredTeacher(tmp_path, RECIPE | other)
    assert there.folder != store.folder
    assert not there.exists


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_flipped_byte_is_found(tiny, store, place):
    damaged = bytearray(store.weights.read_bytes())
    damaged[place] ^= 1
    store.weights.write_bytes(damaged)
    network = tiny(4, seed=7)
    before = sha256_of(network)
    with pytest.raises(DataError, match=r"teacher\.safetensors: damaged.*Fix: delete"):
        store.load(network, CLASSES)
    assert sha256_of(network) == before


def test_a_cut_or_missing_file_is_found(tiny, store):
    store.weights.write_bytes(store.weights.read_bytes()[:-10])
    with pytest.raises(DataError, match="damaged"):
        store.load(tiny(4), CLASSES)
    store.weights.unlink()
    with pytest.raises(DataError, match=r"teacher\.safetensors.*Fix: delete the folder"):
        store.load(tiny(4), CLASSES)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"epochs": 3}'])
def test_a_damaged_record_is_found(tiny, store, text):
    (store.folder / "teacher.json").write_text(text)
    with pytest.raises(DataError, match=r"teacher\.json: damaged.*Fix: delete the folder"):
        store.load(tiny(4), CLASSES)


@pytest.mark.parametrize("names", [CLASSES[::-1], CLASSES[:4], (*CLASSES, "hen")])
def test_other_classes_are_refused(tiny, store, names):
    with pytest.raises(DataError, match=r"knows other classes.*Fix"):
        store.load(tiny(4), names)


def test_another_network_is_refused(tiny, store):
    with pytest.raises(DataError, match="does not fit"):
        store.load(tiny(8), CLASSES)


@pytest.mark.parametrize("writes", [0, 1])
def test_an_interrupted_keep_does_not_count(tiny, tmp_path, monkeypatch, writes):
    there, done = RegisteredTeacher(tmp_path, RECIPE), []

    def interrupted(path, content):
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(path)
        write_atomically(path, content)

    for module in (registry, sealed):
        monkeypatch.setattr(module, "write_atomically", interrupted)
    weights = save(tiny(4).state_dict())
    with pytest.raises(KeyboardInterrupt):
        there.save(weights, {"class_names": list(CLASSES)})
    assert done == [there.weights][:writes]
    assert not there.exists
    monkeypatch.undo()
    there.save(weights, {"class_names": list(CLASSES)})  # and the next one may
    network = tiny(4, seed=7)
    there.load(network, CLASSES)
    assert torch.equal(network.fc.weight, tiny(4).fc.weight)


def test_record_is_readable_json(store):
    record = json.loads((store.folder / "teacher.json").read_text())
    ours = {"version", "content_sha256"}
    assert set(record) == {"class_names", "val_accuracy", "recipe", "file_sha256", *ours}
