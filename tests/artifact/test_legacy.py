"""Artifacts and kept teachers of before names stood for code: read, and the same numbers."""

import json

import pytest
import torch

from potstill.artifact.file import load_artifact, read_artifact
from potstill.artifact.legacy import spec_of_recipe, with_module_paths
from potstill.config.names import builder_target, by_name
from potstill.errors import DataError
from potstill.teacher.registry import RegisteredTeacher
from tests.support.places import GOLDEN

OLD = GOLDEN / "artifacts"
# What the version that wrote each file says of this image.
LOGITS = json.loads((OLD / "logits.json").read_text())
IMAGE = (torch.arange(2 * 3 * 16 * 16).float() * 0.37).sin().reshape(2, 3, 16, 16)
KINDS = {
    "student": [],
    "pruned": ["prune_channels"],
    "int8-ptq": ["prune_channels", "int8_static"],
    "int8-qat": ["prune_channels", "int8_static"],
    "dynamic": ["prune_channels", "int8_dynamic"],
}


@pytest.mark.parametrize("name", KINDS)
def test_an_old_artifact_is_the_network_it_was(name):
    network, artifact = load_artifact(OLD / f"{name}.safetensors")
    assert artifact.spec.builder == "tiny_cnn"
    assert [entry["kind"] for entry in artifact.spec.transforms] == KINDS[name]
    with torch.no_grad():
        torch.testing.assert_close(network(IMAGE), torch.tensor(LOGITS[name]), rtol=1e-4, atol=1e-4)


def test_what_an_old_file_may_call_is_a_table():
    path = "potstill.models.tiny_cnn.tiny_cnn"
    values = spec_of_recipe({"builder": {"_target_": path, "members": [{"_target_": path}]}}, "f")
    assert values["kwargs"] == {"members": [{"builder": "tiny_cnn", "kwargs": {}}]}
    for builder in ({"_target_": "os.system"}, {"_target_": ["x"]}, {"a": {"_target_": "b"}}):
        with pytest.raises(DataError, match=r"^f: wants to call"):
            spec_of_recipe({"builder": {"_target_": path, **builder}}, "f")
    for recipe in ({}, [], {"builder": {}, "hook": 1}):
        with pytest.raises(DataError, match=r"^f: holds no network"):
            spec_of_recipe(recipe, "f")


def test_an_old_teacher_is_found_by_the_settings_of_today():
    (folder,) = (GOLDEN / "teachers").iterdir()
    was = json.loads((folder / "teacher.json").read_text())["recipe"]
    node = was["model"] | {"_target_": "potstill.models.tiny_cnn.tiny_cnn"}
    scheduler = was["training"]["scheduler"] | {"_target_": "potstill.training.schedules.cosine"}
    training = was["training"] | {"scheduler": scheduler}
    today = by_name(was | {"model": node, "training": training})
    assert today["model"]["_target_"] == "tiny_cnn"
    assert with_module_paths(today) == was
    kept = RegisteredTeacher(folder.parent, with_module_paths(today))
    assert kept.exists
    network = read_artifact(kept.weights)
    assert network.spec.builder == "tiny_cnn"


def test_every_builder_of_the_table_is_one_still():
    for name in ("cifar_resnet", "cifar_resnet_x4", "small_cnn", "timm_model", "tiny_cnn"):
        assert builder_target(name) is not None
    for name in ("torchvision_model", "wide_resnet"):
        assert builder_target(name) is not None
    assert builder_target("cosine") is None
