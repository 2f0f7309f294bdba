"""A specification is plain values, names builders and no module, and carries no weights."""

import json

import pytest

from potstill.artifact.spec import ModelSpec
from potstill.errors import DataError

NODE = {"_target_": "potstill.models.tiny_cnn.tiny_cnn", "num_classes": 5, "weights": "x.pt"}
BARE = {"num_classes": 5, "weights": None}
BUILT = {"builder": "tiny_cnn", "kwargs": {"num_classes": 5}}


def test_weights_stay_out_at_every_depth():
    nested = NODE | {"members": [dict(NODE)]}
    spec = ModelSpec.of(nested)
    assert spec.kwargs["weights"] is None
    assert spec.kwargs["members"][0]["kwargs"]["weights"] is None
    assert nested["weights"] == "x.pt"


def test_a_builder_has_a_name():
    spec = ModelSpec.of(NODE | {"members": [dict(NODE)]})
    assert spec.builder == "tiny_cnn"
    assert "potstill" not in json.dumps(spec.to_json())
    assert spec.kwargs["members"] == [{"builder": "tiny_cnn", "kwargs": BARE}]


@pytest.mark.parametrize(
    "target",
    ["torch.nn.Linear", "potstill.teacher.ensemble.TeacherEnsemble", "potstill.models.weights.x"],
)
def test_what_has_no_name_has_no_specification(target):
    assert ModelSpec.of({"_target_": target}) is None
    assert ModelSpec.of(NODE | {"members": [{"_target_": target}]}) is None


def test_json_and_back():
    spec = ModelSpec.of(NODE).then({"kind": "prune_channels", "plan": {}}, {"kind": "int8_static"})
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json())), "file") == spec


@pytest.mark.parametrize(
    "values",
    [
        {"builder": "os.system", "kwargs": {"command": "true"}},
        {"builder": "potstill.cli.main", "kwargs": {}},
        {"builder": "load_weights", "kwargs": {}},
        {**BUILT, "kwargs": {"members": [{"builder": "rmtree", "kwargs": {"path": "x"}}]}},
        {**BUILT, "kwargs": {"a": {"b": {"builder": "exec", "kwargs": {}}}}},
        {"builder": ["tiny_cnn"], "kwargs": {}},
        {"name": "resnet18"},
        {**BUILT, "hook": 1},
        {**BUILT, "transforms": [{"plan": {}}]},
        {**BUILT, "transforms": {"kind": "int8_static"}},
        [],
        "tiny_cnn",
    ],
)
def test_anything_else_is_refused(values):
    if isinstance(values, dict) and "builder" in values:
        values = {"transforms": [], **values}
    with pytest.raises(DataError, match=r"^file: (holds no network|wants to call)"):
        ModelSpec.from_json(values, "file")


def test_a_plugin_that_is_not_there_is_one_line():
    values = {"builder": "mylab:my_net", "kwargs": {}, "transforms": []}
    with pytest.raises(DataError, match=r"^file: is built by my_net of the plugin mylab.*Fix:"):
        ModelSpec.from_json(values, "file")
