"""torch.export archives: bit-equal logits, and preprocessing beside the graph."""

import json

import pytest
import torch

from potstill.errors import DataError
from potstill.export import torch_export
from potstill.export.runtimes.eager import TorchExport
from potstill.export.torch_export import Pt2
from tests.support.exported_nets import FACTS, integers, make_images, small


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_logits_and_preprocessing(tmp_path, precision):
    network = small() if precision == "float32" else integers(small())
    done = Pt2()(network, tmp_path / "net", make_images(), FACTS)
    assert (done.agreement, done.bytes) == (1, done.path.stat().st_size)
    images = make_images(5)
    torch.testing.assert_close(TorchExport(done.path)(images), network(images))
    texts = {"preprocess.json": ""}
    torch.export.load(done.path, extra_files=texts)
    about = json.loads(texts["preprocess.json"])
    assert (about["class_names"], about["precision"]) == (FACTS["class_names"], precision)


def test_a_network_that_cannot_be_followed(tmp_path):
    class Branching(torch.nn.Module):
        def forward(self, x):
            return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))

    with pytest.raises(DataError, match=r"export=torch_export: torch.export cannot follow .*Fix"):
        Pt2()(Branching(), tmp_path / "net", make_images(), FACTS)
    assert list(tmp_path.iterdir()) == []


def test_other_weights_in_the_file_are_found(tmp_path, monkeypatch):
    network = small()
    content = torch_export.convert(network, make_images(), "{}")
    monkeypatch.setattr(torch_export, "convert", lambda *_: content)
    with torch.no_grad():
        network.linear.weight.neg_()
    with pytest.raises(DataError, match="computes something else"):
        Pt2()(network, tmp_path / "net", make_images(), FACTS)
    assert list(tmp_path.iterdir()) == []
