"""A network comes back from its file as it was: dense, pruned, int8."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from potstill.artifact.file import (
    Artifact,
    artifact_bytes,
    build,
    load_artifact,
    load_network,
    read_artifact,
    save_artifact,
)
from potstill.artifact.spec import ModelSpec
from potstill.config.instantiate import instantiate
from potstill.errors import ConfigError, DataError
from potstill.pruning.channels.plan import ChannelPlan, Kept, apply_plan
from potstill.quantization.post_training import quantize_static
from potstill.quantization.scheme import Scheme

BUILDER = {
    "_target_": "potstill.models.tiny_cnn.tiny_cnn",
    "num_classes": 5,
    "image_size": 16,
    "weights": None,
}
FACTS = {
    "class_names": list("abcde"),
    "mean": [0.5] * 3,
    "std": [0.25] * 3,
    "image_shape": [3, 16, 16],
}
SPEC = ModelSpec.of(BUILDER)
IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def built(seed=0):
    torch.manual_seed(seed)
    network = instantiate(BUILDER)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # fresh ones are the identity, and hide mistakes
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def first_convolution(network):
    return next(
        (path, module) for path, module in network.named_modules() if isinstance(module, nn.Conv2d)
    )


def saved(tmp_path, network, spec):
    return save_artifact(tmp_path / "net.safetensors", network, Artifact(spec, FACTS, {"a": 1}))


def test_a_dense_network_comes_back(tmp_path):
    network = built()
    path = saved(tmp_path, network, SPEC)
    again, artifact = load_artifact(path)
    assert torch.equal(again(IMAGES), network(IMAGES))
    assert not again.training
    assert artifact == Artifact(SPEC, FACTS, {"a": 1})


def test_equal_networks_are_equal_files():
    artifact = Artifact(SPEC, FACTS)
    assert artifact_bytes(built(), artifact) == artifact_bytes(built(), artifact)
    assert artifact_bytes(built(), artifact) != artifact_bytes(built(1), artifact)


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_a_quantized_network_comes_back(tmp_path, kind):
    from potstill.quantization.convert import convert
    from potstill.quantization.dynamic import quantize_dynamic

    network = built()
    if kind == "static":
        small = convert(quantize_static(network, [IMAGES]))
    else:
        small = quantize_dynamic(network)[0]
    settings = {"kind": f"int8_{kind}"} | (Scheme().to_dict() if kind == "static" else {})
    path = saved(tmp_path, small, SPEC.then(settings))
    again, _ = load_artifact(path)
    assert torch.equal(again(IMAGES), small(IMAGES))
    assert any(value.dtype == torch.int8 for value in again.state_dict().values())
    with pytest.raises(ConfigError, match="is quantized, and trains no further"):
        load_network(str(path))


def test_a_plugin_rebuilds_its_own_transform(tmp_path, monkeypatch):
    """As a stage of its own writes it: the classifier is another layer."""
    (tmp_path / "mylab.py").write_text(
        "from torch import nn\n"
        "def wider(network, width):\n"
        "    network.linear = nn.Linear(network.linear.in_features, width)\n"
        "    return network\n"
    )
    monkeypatch.setenv("POTSTILL_PLUGINS", str(tmp_path / "mylab.py"))
    network = built()
    network.linear = nn.Linear(network.linear.in_features, 7)
    path = saved(tmp_path, network, SPEC.then({"kind": "mylab:wider", "width": 7}))
    again, _ = load_artifact(path)
    assert torch.equal(again(IMAGES), network(IMAGES))
    monkeypatch.delenv("POTSTILL_PLUGINS")
    with pytest.raises(DataError, match=r"kind=mylab:wider: unknown here\. Fix: plugins=\[mylab\]"):
        load_artifact(path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "ternary"}, r"kind=ternary: unknown here\. Fix: a newer potstill"),
        ({"kind": "mylab:halve"}, r"kind=mylab:halve: unknown here\. Fix: plugins=\[mylab\]"),
        ({"kind": "int8_dynamic", "bits": 4}, r"kind=int8_dynamic: .*bits"),
    ],
)
def test_an_unknown_transform_is_refused(tmp_path, entry, message):
    path = saved(tmp_path, built(), SPEC.then(entry))
    with pytest.raises(DataError, match=message) as caught:
        load_artifact(path)
    assert "\n" not in str(caught.value)


def test_a_network_to_train_on_fits_the_data(tmp_path):
    path = str(saved(tmp_path, built(), SPEC))
    assert load_network(path, num_classes=5, image_size=16).training
    with pytest.raises(ConfigError, match="made for num_classes=5, the data has 10"):
        load_network(path, num_classes=10)
    with pytest.raises(ConfigError, match="made for image_size=16, the data has 32"):
        load_network(path, image_size=32)


def test_only_builders_are_called(tmp_path):
    marker = tmp_path / "marker"
    header = FACTS | {
        "recipe": {"builder": {"_target_": "pathlib.Path.touch", "self": str(marker)}},
        "source": {},
    }
    spec = {"builder": "pathlib.Path.touch", "kwargs": {"self": str(marker)}, "transforms": []}
    for content in (header, FACTS | {"spec": spec}):
        file = tmp_path / "evil.safetensors"
        save_file(built().state_dict(), file, {"potstill": json.dumps(content)})
        with pytest.raises(DataError, match="wants to call"):
            load_artifact(file)
    assert not marker.exists()


def test_what_is_no_artifact_is_one_line(tmp_path):
    bare, broken = tmp_path / "bare.safetensors", tmp_path / "broken.safetensors"
    save_file(built().state_dict(), bare)
    broken.write_bytes(b"\xff" * 40)
    none = saved(tmp_path, built(), None)
    for path, message in (
        (tmp_path / "absent.safetensors", "no such file"),
        (bare, "weights alone, no network"),
        (broken, "damaged"),
        (none, "cannot be built without its experiment"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            load_artifact(path)
        assert "\n" not in str(caught.value)
    assert read_artifact(none).facts == FACTS


def test_a_pruned_network_comes_back(tmp_path):
    network = built()
    before = network(IMAGES)
    path, conv = first_convolution(network)
    half = Kept(conv.out_channels, tuple(range(0, conv.out_channels, 2)))
    followers = {"out": half}
    plan = ChannelPlan({path: followers})
    wider = [
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d | nn.Conv2d)
    ]
    norm = next(name for name, module in wider if isinstance(module, nn.BatchNorm2d))
    later = [name for name, module in wider if isinstance(module, nn.Conv2d)][1]
    plan = plan.then(ChannelPlan({norm: {"out": half}, later: {"in": half}}))
    pruned = apply_plan(network, plan).eval()
    assert pruned(IMAGES).shape == before.shape
    assert not torch.allclose(pruned(IMAGES), before)
    spec = SPEC.then({"kind": "prune_channels", "plan": plan.to_json()})
    again, _ = load_artifact(saved(tmp_path, pruned, spec))
    assert torch.equal(again(IMAGES), pruned(IMAGES))
    assert build(spec).state_dict().keys() == pruned.state_dict().keys()
