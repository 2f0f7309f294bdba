"""Every file in conf/model composes, builds and runs; convolutional networks trace."""

import itertools

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import fx, nn

from tests.support.places import CONF

OPTIONS = sorted({file.stem for file in (CONF / "model").glob("*.yaml")} - {"artifact"})  # a file
LARGE = {"resnet34", "resnet50", "resnet101", "resnet152", "vgg16_bn", "vgg19_bn"}
LARGE |= {"vit_b_16", "wrn_28_10"}


def configured(option):
    overrides = ["+data.num_classes=10", "+data.image_size=32"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(f"model/{option}", overrides).model


@pytest.mark.parametrize("option", OPTIONS)
def test_option_builds_runs_and_traces(option):
    device = "meta" if option in LARGE else "cpu"
    torch.manual_seed(0)
    with torch.device(device):
        model = instantiate(configured(option)).eval()
    x = torch.randn(2, 3, 32, 32, device=device)
    logits = model(x)
    assert logits.shape == (2, 10)
    assert not any(getattr(module, "inplace", False) for module in model.modules())
    if device == "cpu":
        assert logits.isfinite().all()
    if device == "cpu" and not option.startswith(("vit", "timm")):
        assert torch.equal(fx.symbolic_trace(model)(x), logits)


@pytest.mark.parametrize(
    "option", ["cifar_resnet8", "resnet8x4", "wrn_16_1", "small_student", "tiny_cnn"]
)
def test_every_module_of_our_own_is_called_once(option):
    """A module called twice would show a hook two tensors under one name."""
    graph = fx.symbolic_trace(instantiate(configured(option))).graph
    called = [node.target for node in graph.nodes if node.op == "call_module"]
    assert len(called) == len(set(called))
    assert not any(node.target in (torch.relu, nn.functional.relu) for node in graph.nodes)


@pytest.mark.parametrize("option", OPTIONS)
def test_option_says_what_it_is_and_has_the_common_keys(option):
    text = (CONF / "model" / f"{option}.yaml").read_text()
    assert text.startswith("# ")
    for line in ("num_classes: ${data.num_classes}", "image_size: ${data.image_size}"):
        assert line in text
    lines = [line.strip() for line in text.splitlines()]
    assert ("stem: auto", "weights: null") in itertools.pairwise(lines)
