import copy

import pytest
import torch
from torch import nn

from potstill.models.copies import copy_network, copy_shapes


class Hanging(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)
        self.kept = {"twice": [self.weight * 2]}


def test_tensors_on_a_graph_are_copied_detached():
    net = Hanging()
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(net)
    copied = copy_network(net).kept["twice"][0]
    assert torch.equal(copied, net.weight * 2)
    assert not copied.requires_grad
    assert copied.data_ptr() != net.kept["twice"][0].data_ptr()


def test_shapes_are_without_values_and_shared_parameters_stay_shared():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    net[1].weight.requires_grad_(False)
    shapes = copy_shapes(net)
    assert {value.device.type for value in shapes.state_dict().values()} == {"meta"}
    assert shapes[0].weight is shapes[2].weight
    assert [p.requires_grad for p in shapes.parameters()] == [
        p.requires_grad for p in net.parameters()
    ]
    assert {k: v.shape for k, v in shapes.state_dict().items()} == {
        k: v.shape for k, v in net.state_dict().items()
    }
