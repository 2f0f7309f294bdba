import torch
from torch import nn

from potstill.models.cifar_resnet import cifar_resnet
from potstill.pruning.channels.groups import eval_copy, find_groups
from tests.support.pruned_nets import IMAGE, SMALL, build


def test_padded_shortcuts_couple_by_place():
    """OptionA puts 16 channels in the middle of 32, and those in the middle of 64."""
    groups = {g.name: g for g in find_groups(eval_copy(cifar_resnet(8, 5)), IMAGE)}
    assert {name: groups[name].width for name in ("conv1", "layer2.0.conv2", "layer3.0.conv2")} == {
        "conv1": 16, "layer2.0.conv2": 16, "layer3.0.conv2": 32,
    }  # fmt: skip
    places = {m.path: m.channels for m in groups["conv1"].members if m.side == "out"}
    assert places["conv1"] == tuple(range(16))
    assert places["layer2.0.conv2"] == tuple(range(8, 24))
    assert places["layer3.0.conv2"] == tuple(range(24, 40))


def test_classifier_is_in_no_group():
    for name in SMALL:
        net = build(SMALL[name])
        last = [path for path, m in net.named_modules() if isinstance(m, nn.Linear)][-1]
        outputs = {
            m.path for g in find_groups(eval_copy(net), IMAGE) for m in g.members if m.side == "out"
        }
        assert last not in outputs


def test_concatenation_leads_each_layer_to_its_place():
    groups = find_groups(eval_copy(build(SMALL["densenet"])), IMAGE)
    first = next(g for g in groups if g.name == "features.denseblock1.denselayer1.conv2")
    norm = next(m for m in first.members if m.path == "features.transition1.norm")
    assert norm.channels == tuple(range(32, 48))


def test_grouped_convolutions_tie_their_groups():
    groups = find_groups(eval_copy(build(SMALL["regnet_y"])), IMAGE)
    assert {g.width // g.blocks for g in groups if g.blocks > 1} == {8}


def test_twin_shares_nothing_and_leaves_the_network():
    net = build(SMALL["vgg"]).half().train()
    copy = eval_copy(net)
    assert net.training
    assert next(net.parameters()).dtype == torch.float16
    assert next(copy.parameters()).dtype == torch.float32
    assert not copy.training


def test_a_layer_whose_weight_is_used_but_that_is_not_called_is_no_root():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 8, 1), nn.Linear(8, 5)
            self.scales = nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 8))

        def forward(self, x):
            first, _, second = self.scales
            hidden = torch.ones(1, 2) @ first.weight.t() + first.bias
            scales = hidden.relu() @ second.weight.t()
            return self.head(self.stem(x).mean((2, 3)) * scales)

    names = [group.name for group in find_groups(eval_copy(build(Attention)), IMAGE)]
    assert names == ["stem"]
