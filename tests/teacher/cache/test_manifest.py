"""A store's identity: hashed by hand, and every stale field named."""

import hashlib
import json

import pytest

from potstill.errors import ConfigError, DataError
from potstill.teacher.cache.manifest import read_fields
from tests.support.store_cases import MANIFEST, STALE, manifest


def test_folder_name_by_hand():
    fields = {
        "teacher": "a" * 64,
        "dataset": "d" * 64,
        "augmentation": "Augment(crop_padding=1, flip=True)",
        "image_size": 16,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "seed": None,
        "num_samples": 50,
        "num_views": 18,
        "num_classes": 5,
        "precision": "float16",
        "top_k": None,
        "dim_pooled": 0,
        "arithmetic": "float32",
        "tolerance": 0.001,
        "format": 1,
    }
    text = json.dumps(fields, sort_keys=True)
    expected = "a" * 16 + "-" + hashlib.sha256(text.encode()).hexdigest()[:16]
    assert MANIFEST.folder_name == expected


@pytest.mark.parametrize("field", STALE)
def test_every_stale_field_is_another_folder_and_is_named(tmp_path, field):
    MANIFEST.write(tmp_path)
    MANIFEST.check(tmp_path)
    other = manifest(**{field: STALE[field]})
    assert other.folder_name != MANIFEST.folder_name
    with pytest.raises(DataError, match=rf"\({field}: .* -> .*\)\. Fix: teacher\.store=auto"):
        other.check(tmp_path)
    assert [line.split(":")[0] for line in other.differences(read_fields(tmp_path))] == [field]


def test_hashes_are_shortened_and_values_shown(tmp_path):
    MANIFEST.write(tmp_path)
    found = manifest(teacher="b" * 64, seed=3, mean=(0.4, 0.5, 0.5)).differences(
        read_fields(tmp_path)
    )
    assert found == [
        f"teacher: {'a' * 12}… -> {'b' * 12}…",
        "mean: [0.5, 0.5, 0.5] -> [0.4, 0.5, 0.5]",
        "seed: null -> 3",
    ]


def test_nearest_differs_in_the_fewest_fields(tmp_path):
    assert MANIFEST.nearest(tmp_path) is None
    manifest(teacher="b" * 64, seed=1, top_k=1).write(tmp_path / "far")
    manifest(image_size=32).write(tmp_path / "near")
    manifest(seed=1, image_size=32).write(tmp_path / "middle")
    assert MANIFEST.nearest(tmp_path) == tmp_path / "near"


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_damaged_manifest_is_named(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json: damaged"):
        MANIFEST.check(tmp_path)


@pytest.mark.parametrize("change", [{"precision": "int8"}, {"top_k": 0}, {"top_k": 5}])
def test_settings(change):
    with pytest.raises(ConfigError, match=r"teacher\.\w+=.*Fix"):
        manifest(**change)
