"""ExecuTorch files: one XNNPACK delegate, the same logits, in float and in int8."""

import json

import pytest
import torch
from torch import fx, nn

from potstill.errors import ConfigError, DataError
from potstill.export import executorch as exporter
from potstill.export.executorch import Pte, check_one_delegate
from potstill.export.runtimes.executorch import ExecuTorch
from potstill.quantization.dynamic import quantize_dynamic
from tests.support.exported_nets import CLASSES, FACTS, integers, make_images, residual

pytest.importorskip("executorch")
LARGEST = 8


@pytest.fixture(scope="module")
def written(tiny_net, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pte")
    nets = {"float32": tiny_net, "int8": integers(residual())}
    write = Pte(largest_batch=LARGEST)
    return {
        name: (net, write(net, folder / name, make_images(), FACTS)) for name, net in nets.items()
    }


@pytest.fixture(scope="module")
def tiny_net():
    """A mean that drops its dimensions, which XNNPACK alone would not take."""
    torch.manual_seed(0)

    class Tiny(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.linear = nn.Conv2d(3, 8, 3), nn.Linear(8, len(CLASSES))

        def forward(self, x):
            return self.linear(self.conv(x).relu().mean((2, 3)))

    return Tiny().eval()


@pytest.mark.parametrize(("precision", "floor"), [("float32", 100), ("int8", 28)])
def test_logits_of_any_batch(written, precision, floor):
    network, done = written[precision]
    assert done.path.stat().st_size == done.bytes
    assert done.sqnr_db > floor
    runtime = ExecuTorch(done.path)
    assert runtime.largest_batch == LARGEST
    for count in (1, LARGEST, LARGEST + 3):  # the last in two parts
        images = make_images(count)
        assert (runtime(images) - network(images)).abs().max() <= done.max_difference * 1.01 + 1e-6


def test_linear_layers_alone_in_int8(tiny_net, tmp_path):
    network, _ = quantize_dynamic(tiny_net)
    done = Pte(largest_batch=LARGEST)(network, tmp_path / "net", make_images(), FACTS)
    assert done.sqnr_db > 60
    images = make_images(3)
    # Rows are rounded by themselves: alone and in a batch, an image has the same logits.
    runtime = ExecuTorch(done.path)
    alone = torch.cat([runtime(image[None]) for image in images])
    torch.testing.assert_close(alone, network(images), atol=1e-4, rtol=0)
    torch.testing.assert_close(runtime(images), network(images), atol=1e-4, rtol=0)


def test_the_file_carries_labels_and_preprocessing(written):
    runtime = ExecuTorch(written["int8"][1].path)
    assert json.loads(runtime.text("labels")) == list(CLASSES)
    about = json.loads(runtime.text("preprocess"))
    assert (about["std"], about["precision"]) == (FACTS["std"], "int8")


def test_other_weights_in_the_file_are_found(written, tmp_path, monkeypatch):
    network, done = written["float32"]
    monkeypatch.setattr(exporter, "convert", lambda *_: done.path.read_bytes())
    changed = type(network)().eval()
    with pytest.raises(DataError, match=r"export=net.pte: the file computes something else"):
        Pte()(changed, tmp_path / "net", make_images(), FACTS)
    assert list(tmp_path.iterdir()) == []


class Summed(nn.Module):
    def forward(self, x):
        return x.cumsum(3).mean((2, 3))


def test_a_layer_that_xnnpack_does_not_take_is_named(tmp_path):
    with pytest.raises(DataError, match=r"leaves out aten\.cumsum.*export\.executorch\.one_d"):
        Pte(largest_batch=1)(Summed(), tmp_path / "net", make_images(2), FACTS)
    assert list(tmp_path.iterdir()) == []
    done = Pte(largest_batch=1, one_delegate=False)(
        Summed(), tmp_path / "net", make_images(2), FACTS
    )
    assert done.sqnr_db > 100


def test_pieces_are_counted():
    def executorch_call_delegate(x):
        return x

    graph = fx.Graph()
    x = graph.placeholder("x")
    first = graph.call_function(executorch_call_delegate, (x,))
    graph.output(graph.call_function(executorch_call_delegate, (first,)))
    with pytest.raises(DataError, match="in 2 pieces, and leaves out nothing"):
        check_one_delegate(graph)


def test_settings_and_missing_library(tiny_net, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="largest_batch=0: too few"):
        Pte(largest_batch=0)
    monkeypatch.setitem(__import__("sys").modules, exporter.XNNPACK, None)
    with pytest.raises(ConfigError, match=r"export=executorch: needs executorch.*\[export\]"):
        Pte()(tiny_net, tmp_path / "net", make_images(2), FACTS)
