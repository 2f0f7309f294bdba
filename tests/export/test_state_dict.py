"""safetensors files: nothing but what is in the file gives the logits."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load

from potstill.errors import DataError
from potstill.export import state_dict
from potstill.export.state_dict import StateDict
from potstill.integrity.tensors import save_tensors
from potstill.quantization.prepare import prepare
from tests.support.exported_nets import FACTS, integers, make_images, small


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_logits_and_preprocessing(tmp_path, precision):
    network = small() if precision == "float32" else integers(small())
    done = StateDict()(network, tmp_path / "net", make_images(), FACTS)
    assert (done.agreement, done.max_difference) == (1, 0)
    with safe_open(done.path, "pt") as file:
        about = json.loads(file.metadata()["potstill"])
        assert set(file.keys()) == set(network.state_dict())
    assert (about["image_shape"], about["precision"]) == ([3, 16, 16], precision)


def test_a_network_that_trained_in_integers_is_deployed(tmp_path):
    prepared = prepare(small())
    prepared.train()(make_images())
    done = StateDict()(prepared, tmp_path / "net", make_images(), FACTS)
    weights = load(done.path.read_bytes())
    assert weights["conv1.weight"].dtype == torch.int8


def test_a_weight_that_is_not_in_the_file_is_found(tmp_path, monkeypatch):
    def without_bias(state, header):
        return save_tensors({**state, "linear.weight": state["linear.weight"] * 0}, header)

    monkeypatch.setattr(state_dict, "save_tensors", without_bias)
    with pytest.raises(DataError, match="computes something else"):
        StateDict()(small(), tmp_path / "net", make_images(), FACTS)
    assert list(tmp_path.iterdir()) == []
