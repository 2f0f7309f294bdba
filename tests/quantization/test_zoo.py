"""Networks of other libraries, of twelve kinds, in int8 and as files."""

import pytest
import torch
from torch import nn

from potstill.errors import ConfigError
from potstill.export.onnx import Onnx
from potstill.export.sensitivity import perturb_rounding
from potstill.measure.sqnr import centred_sqnr_db
from potstill.quantization.convert import convert
from potstill.quantization.converted_layers import ConvertedConv2d, ConvertedLinear
from potstill.quantization.post_training import quantize_static
from tests.pruning.channels.test_zoo import KINDS, SHAPE, built
from tests.support.odd_nets import images

# Sizes of positions are compared in its own forward pass.
REFUSED = {"vision transformer": "model=VisionTransformer: .*its own forward pass.*Fix: "}
# Shares of the layers that are int8; weights that are computed stay in float32.
LAYERS = {
    "attention with biases": 0.9,
    "ghost modules": 0.9,
    "squeeze and excite, hard swish": 0.9,
    "scaled weights without norms": 0.2,
    "weight standardisation, group norm": 0,
}
SLOW = ("ghost modules", "attention over branches", "attention with biases", "gated units")
EACH = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in KINDS]
FACTS = {"class_names": list("abcde"), "mean": [0.5] * 3, "std": [0.2] * 3, "preprocess": {}}


def quantized(name):
    network = built(KINDS[name][0])
    return network, quantize_static(network, [(images(8, SHAPE),)])


@pytest.mark.parametrize("name", EACH)
@torch.no_grad()
def test_networks_of_many_kinds_are_right_in_int8(name):
    if name in REFUSED:
        with pytest.raises(ConfigError, match=REFUSED[name]):
            quantized(name)
        return
    network, fake = quantized(name)
    int8, x = convert(fake), images(4, SHAPE)
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    reached = [m for m in int8.modules() if isinstance(m, ConvertedConv2d | ConvertedLinear)]
    assert len(reached) >= LAYERS.get(name, 1) * len(layers)
    # As close as the int8 network is to itself when it rounds a little differently.
    floor = min(30, centred_sqnr_db(int8(x), perturb_rounding(int8)(x)) - 3)
    assert centred_sqnr_db(fake(x), int8(x)) >= floor
    assert centred_sqnr_db(network(x), fake(x)) > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in KINDS if name not in REFUSED])
def test_networks_of_many_kinds_are_right_in_files(name, tmp_path):
    pytest.importorskip("onnxscript")
    network, fake = quantized(name)
    for one in (network, fake):
        done = Onnx()(one, tmp_path / "net", images(8, SHAPE), FACTS | {"image_shape": SHAPE})
        assert done.agreement == 1
