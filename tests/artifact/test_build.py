"""A specification from a file builds no more than the file's tensors account for."""

import pytest
import torch
from torch import nn

from potstill.artifact.build import build
from potstill.artifact.spec import ModelSpec
from potstill.errors import DataError
from potstill.models.tiny_cnn import tiny_cnn

STATE = tiny_cnn(num_classes=5, image_size=16).state_dict()


def spec(*transforms, builder="small_cnn", **kwargs):
    return ModelSpec(builder, {"num_classes": 5, "image_size": 16} | kwargs, transforms)


@pytest.mark.parametrize(
    "wrong",
    [
        spec(hidden=2**20, channels=[2**20, 2**20]),
        spec(builder="cifar_resnet", depth=2**20 // 6 * 6 + 2),
        spec(builder="wide_resnet", depth=2**20 // 6 * 6 + 4, width=1),
        spec(builder="torchvision_model", name="vit_h_14", stem="imagenet", image_size=224),
        spec({"kind": "prune_channels", "plan": {}}, channels=[2**20] * 2),
    ],
    ids=lambda wrong: str(wrong.kwargs)[:60],
)
def test_what_is_far_larger_than_its_file_takes_no_memory(wrong, monkeypatch):
    monkeypatch.setattr(nn.Parameter, "__new__", on_meta_alone(nn.Parameter.__new__))
    with pytest.raises(DataError, match=r"^file: .*many times the (numbers|layers).*Fix") as caught:
        build(wrong, "file", STATE)
    assert "\n" not in str(caught.value)


def on_meta_alone(new):
    def checked(cls, data=None, requires_grad=True):
        assert data is None or data.device.type == "meta"
        return new(cls, data, requires_grad)

    return checked


@pytest.mark.parametrize(
    "wrong",
    [
        spec(num_classes=-5),
        spec(hidden=-1),
        spec(hidden=1.5),
        spec(hidden=None),
        spec(hidden="???"),
        spec(hidden="${oc.env:HOME}"),
        spec(channels=[]),
        spec(channels={"a": 1}),
        spec(stem="none"),
        spec(depth=3),
        spec(builder="timm_model", model_name="hf-hub:timm/resnet18.a1_in1k"),
        spec({"kind": "prune_channels", "plan": {"format": 1, "channels": [[0]], "layers": 3}}),
        spec({"kind": "prune_channels", "plan": None}),
        spec({"kind": "int8_static", "bits": -8}),
        spec({"kind": "unknown"}),
    ],
    ids=lambda wrong: str(wrong.transforms or wrong.kwargs)[:60],
)
def test_what_cannot_be_built_is_one_line(wrong):
    with pytest.raises(DataError, match="Fix: ") as caught:
        build(wrong, "file", STATE)
    assert "\n" not in str(caught.value)


def test_looking_first_draws_no_random_numbers_and_leaves_no_hook():
    torch.manual_seed(0)
    one = build(spec(builder="tiny_cnn"), "file", STATE).state_dict()
    torch.manual_seed(0)
    other = build(spec(builder="tiny_cnn"), "file").state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert nn.Linear(4096, 4096).weight.numel() > sum(v.numel() for v in STATE.values())


def test_a_builder_that_needs_memory_builds_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "lab.py").write_text(
        "from torch import nn\n"
        "def net(num_classes) -> nn.Module:\n"
        "    net = nn.Linear(4, num_classes)\n"
        "    net.largest = net.weight.max().item()\n"
        "    return net\n"
    )
    monkeypatch.setenv("POTSTILL_PLUGINS", str(tmp_path / "lab.py"))
    wanted = ModelSpec("lab:net", {"num_classes": 3})
    assert build(wanted, "file", nn.Linear(4, 3).state_dict()).largest > 0
