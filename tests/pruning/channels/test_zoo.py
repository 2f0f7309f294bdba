"""Networks of other libraries, of twelve kinds, against the dense network's own forward pass."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models import get_model
from zoo_oracle import dense_without

from potstill.pruning.channels.plan import ChannelPlan, Kept, apply_plan
from tests.support.odd_nets import TINY, Moved, images, prune, seeded

timm = pytest.importorskip("timm")
SHAPE = (3, 64, 64)


def big_transfer():
    from timm.layers import StdConv2d
    from timm.models.resnetv2 import ResNetV2

    widths, conv = (256, 256, 512, 512), partial(StdConv2d, eps=1e-8)
    return ResNetV2((1, 1, 1, 1), widths, num_classes=5, stem_type="fixed", conv_layer=conv)


KINDS = {  # with the shares of the channels that go, at least
    "weight standardisation, group norm": (big_transfer, 0.45),
    "global response norm": (
        lambda: timm.create_model("convnextv2_atto", num_classes=5, depths=(1, 1, 1, 1)), 0.45
    ),
    "ghost modules": (lambda: timm.create_model("ghostnet_050", num_classes=5), 0.4),
    "attention with biases": (
        lambda: timm.create_model("levit_128s", num_classes=5, img_size=64), 0.4
    ),
    "channel shuffle": (lambda: get_model("shufflenet_v2_x0_5", num_classes=5), 0.4),
    "squeeze and excite, hard swish": (
        lambda: timm.create_model("mobilenetv3_small_050", num_classes=5), 0.4
    ),
    "scaled weights without norms": (lambda: timm.create_model("test_nfnet", num_classes=5), 0.4),
    "attention over branches": (lambda: timm.create_model("resnest14d", num_classes=5), 0.4),
    "vision transformer": (
        lambda: timm.create_model("test_vit", num_classes=5, img_size=64), 0.4
    ),
    "gated units": (lambda: timm.create_model("starnet_s1", num_classes=5), 0.4),
    "concatenation": (
        lambda: timm.create_model("densenet121", num_classes=5, block_config=(2, 2)), 0.4
    ),
    "fire modules": (lambda: get_model("squeezenet1_1", num_classes=5), 0.4),
}  # fmt: skip


def built(make):
    torch.manual_seed(0)
    net = make()
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.3)
                module.weight.uniform_(0.5, 1.5)
        for parameter in net.parameters():
            if parameter.abs().max() < 1e-3:
                parameter.uniform_(-0.3, 0.3)  # what starts at zero
    return net.eval()


@pytest.mark.parametrize("name", KINDS)
def test_networks_of_many_kinds_are_pruned_right(name):
    make, share = KINDS[name]
    dense = built(make)
    pruned = copy.deepcopy(dense)
    done = prune(pruned, shape=SHAPE)
    assert done.reached["ratio"] >= share
    x = images(2, SHAPE)
    with torch.no_grad():
        found, wanted = pruned(x), dense_without(dense, done.plan)(x)
        whole = dense(x)
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()
    assert (whole - wanted).abs().max() > 1e-3 * wanted.abs().max()


def test_the_oracle_tells_a_wrong_plan():
    """A reader behind a flip must keep the flipped places."""
    dense = seeded(lambda: Moved(lambda x: x.flip(1)))
    low, high = Kept(16, tuple(range(4))), Kept(16, tuple(range(12, 16)))
    for read, right in ((high, True), (low, False)):
        sides = {"first": {"out": low}, "norm": {"out": low}, "second": {"in": read}}
        plan = ChannelPlan(sides)
        with torch.no_grad():
            found = apply_plan(copy.deepcopy(dense), plan)(images(shape=TINY))
            wanted = dense_without(dense, plan)(images(shape=TINY))
        assert torch.allclose(found, wanted, atol=1e-5) == right
