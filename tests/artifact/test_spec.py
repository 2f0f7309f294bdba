"""A recipe is plain values, calls only our builders, and carries no weights."""

import json

import pytest

from potstill.artifact.spec import Recipe
from potstill.errors import DataError

BUILDER = {"_target_": "potstill.models.tiny_cnn.tiny_cnn", "num_classes": 5, "weights": "x.pt"}


def test_weights_stay_out_at_every_depth():
    nested = BUILDER | {"members": [dict(BUILDER)]}
    recipe = Recipe.of(nested)
    assert recipe.builder["weights"] is None
    assert recipe.builder["members"][0]["weights"] is None
    assert nested["weights"] == "x.pt"


def test_json_and_back():
    recipe = Recipe.of(BUILDER).with_plan({"conv": [0, 2]}).with_quantization({"bits": 8})
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())), "file")
    assert again == recipe


@pytest.mark.parametrize(
    "values",
    [
        {"builder": {"_target_": "os.system", "command": "true"}},
        {"builder": {"_target_": "potstill.cli.main"}},
        {"builder": BUILDER | {"members": [{"_target_": "shutil.rmtree", "path": "x"}]}},
        {"builder": BUILDER | {"a": {"b": {"_target_": "builtins.exec"}}}},
        {"builder": {"_target_": ["potstill.models.x"]}},
        {"builder": {"name": "resnet18"}},
        {"builder": BUILDER, "hook": 1},
        {"plan": {}},
        [],
        "potstill.models.x",
    ],
)
def test_anything_else_is_refused(values):
    with pytest.raises(DataError, match=r"^file: (holds no recipe|wants to call)"):
        Recipe.from_json(values, "file")
