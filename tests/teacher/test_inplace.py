"""What is overwritten, and what is not because somebody still reads it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from potstill.teacher.inplace import make_inplace

IMAGE = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


class Block(nn.Module):
    """conv - relu - conv, added to what came in; one ReLU for both places."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x):
        out = self.second(self.relu(self.first(x)))
        return self.relu(out + x)


class Read(nn.Module):
    """Reads again what the ReLU, and then the sum, might have overwritten."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        before = self.conv(x)
        after = F.relu(before)
        total = after + before
        return F.relu(total) * total - F.relu(x)


def traced(network):
    torch.manual_seed(0)
    return fx.symbolic_trace(network.eval().requires_grad_(False))


def in_place_of(network):
    return [node.name for node in network.graph.nodes if node.kwargs.get("inplace")] + [
        node.name for node in network.graph.nodes if "iadd" in str(node.target)
    ]


def test_a_residual_block_is_all_in_place():
    network = traced(Block())
    expected, image = network(IMAGE), IMAGE.clone()
    changed = make_inplace(copy.deepcopy(network))
    assert len(in_place_of(changed)) == 3  # two activations and the sum
    with torch.no_grad():
        assert torch.equal(changed(image), expected)
    assert torch.equal(image, IMAGE)  # the images are the student's as well


def test_what_is_read_again_is_not_overwritten():
    network = traced(Read())
    changed = make_inplace(copy.deepcopy(network))
    assert in_place_of(changed) == []
    assert torch.equal(changed(IMAGE), network(IMAGE))


def test_a_sum_is_kept_in_its_own_operand_whichever_that_is():
    class Swapped(Block):
        def forward(self, x):
            return x + self.first(x)

    network = traced(Swapped())
    changed, image = make_inplace(copy.deepcopy(network)), IMAGE.clone()
    assert len(in_place_of(changed)) == 1
    assert torch.equal(changed(image), network(IMAGE))
    assert torch.equal(image, IMAGE)


def test_only_a_traced_network_is_changed():
    with pytest.raises(TypeError, match="not traced"):
        make_inplace(Block())
