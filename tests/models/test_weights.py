import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from potstill.errors import DataError
from potstill.models.cifar_resnet import cifar_resnet
from potstill.models.tiny_cnn import tiny_cnn
from potstill.models.weights import is_path, load_weights

WEIGHTS = ("weights.safetensors", "weights.pt", "weights.pth", "weights.ckpt", "weights.pth.tar")


@pytest.fixture
def source():
    torch.manual_seed(1)
    model = tiny_cnn(10, width=2)
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.uniform_(0.5, 2)
    return model.eval()


@pytest.fixture
def target():
    torch.manual_seed(2)
    return tiny_cnn(10, width=2).eval()


def assert_same(model, other):
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(model(images), other(images))


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize("name", WEIGHTS)
def test_every_file_format_restores_the_outputs(name, source, target, tmp_path):
    save = save_file if name.endswith("safetensors") else torch.save
    save(dict(source.state_dict()), tmp_path / name)
    load_weights(target, tmp_path / name)
    assert_same(source, target)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "best_prec1": 91.7, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: prefixed(state, "module."),
        lambda state: prefixed(state, "_orig_mod.module."),
        lambda state: {"state_dict": prefixed(state, "module._orig_mod.")},
        lambda state: {
            "state_dict": prefixed(state, "student.") | {"heads.fitnet.weight": torch.ones(1)},
            "pytorch-lightning_version": "2.6.6",
        },
        lambda state: {"state_dict": prefixed(state, "student._orig_mod.")},
        lambda state: {k: v for k, v in state.items() if "num_batches_tracked" not in k},
    ],
    ids=[
        "state_dict",
        "model",
        "module",
        "compiled",
        "both",
        "lightning",
        "lightning_compiled",
        "old",
    ],
)
def test_every_wrapping_restores_the_outputs(wrap, source, target, tmp_path):
    torch.save(wrap(dict(source.state_dict())), tmp_path / "w.pt")
    load_weights(target, str(tmp_path / "w.pt"))
    assert_same(source, target)


def test_a_missing_file_is_named_with_its_absolute_path(target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"weights=gone\.pt: no such file") as caught:
        load_weights(target, "gone.pt")
    assert str(tmp_path.resolve() / "gone.pt") in str(caught.value)


def test_keys_that_do_not_fit_are_named(source, target, tmp_path):
    state = source.state_dict()
    for key in ("conv1.weight", "bn1.weight", "bn1.bias", "bn2.weight"):
        state["old_" + key] = state.pop(key)
    torch.save(state, tmp_path / "w.pt")
    before = target.conv2.weight.clone()
    with pytest.raises(DataError) as caught:
        load_weights(target, tmp_path / "w.pt")
    message = str(caught.value)
    assert "4 missing (conv1.weight, bn1.weight, bn1.bias, ...)" in message
    assert "4 unexpected (old_conv1.weight, old_bn1.weight, old_bn1.bias, ...)" in message
    assert torch.equal(target.conv2.weight, before)


def test_shapes_that_do_not_fit_are_named_both(source, tmp_path):
    torch.save(source.state_dict(), tmp_path / "w.pt")
    with pytest.raises(DataError) as caught:
        load_weights(tiny_cnn(7, width=2), tmp_path / "w.pt")
    assert "linear.weight is (10, 8) in the file and (7, 8) in the network" in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value, source, target, tmp_path):
    source.bn2.running_var[0] = value
    torch.save(source.state_dict(), tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"bn2\.running_var holds NaN or infinity"):
        load_weights(target, tmp_path / "w.pt")


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.98])
def test_a_truncated_file_is_named(name, kept, source, target, tmp_path):
    file = tmp_path / name
    save = save_file if name.endswith("safetensors") else torch.save
    save(dict(source.state_dict()), file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DataError, match="damaged") as caught:
        load_weights(target, file)
    assert str(file.resolve()) in str(caught.value)
    assert "\n" not in str(caught.value)


class Attack:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("write", ["torch", "torch_legacy", "pickle"])
def test_code_in_a_file_never_runs(name, write, target, tmp_path):
    marker, file = tmp_path / "marker", tmp_path / name
    content = {"state_dict": {"conv1.weight": Attack(marker)}}
    if write == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=write == "torch")
    with pytest.raises(DataError) as caught:
        load_weights(target, file)
    assert str(file.resolve()) in str(caught.value)
    assert not marker.exists()
    pickle.loads(pickle.dumps(content))
    assert marker.exists()


def test_a_whole_pickled_network_is_refused(source, target, tmp_path):
    torch.save(source, tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"save its state_dict\(\) instead"):
        load_weights(target, tmp_path / "w.pt")


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {0: torch.ones(1)}])
def test_a_file_without_a_state_dict_is_refused(content, target, tmp_path):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"model\.state_dict\(\)"):
        load_weights(target, tmp_path / "w.pt")


def test_a_builder_takes_a_path(tmp_path):
    torch.manual_seed(3)
    model = cifar_resnet(8, 10).eval()
    torch.save(model.state_dict(), tmp_path / "w.pt")
    assert_same(model, cifar_resnet(8, 10, weights=str(tmp_path / "w.pt")).eval())


def test_a_path_is_told_from_a_published_name(tmp_path):
    (tmp_path / "model_best").touch()
    assert is_path("gone.ckpt")
    assert is_path("~/gone.pth.tar")
    assert is_path(str(tmp_path / "model_best"))
    assert not is_path("IMAGENET1K_V1")
    assert not is_path(str(tmp_path))
