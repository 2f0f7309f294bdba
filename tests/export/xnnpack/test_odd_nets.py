"""Networks that XNNPACK takes only once they are written otherwise, in its runtime."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from potstill.export.executorch import Pte
from potstill.export.torch_export import capture
from potstill.export.xnnpack.rewrites import fit_for_xnnpack
from potstill.quantization.post_training import quantize_static
from tests.support.exported_nets import FACTS, make_images


class Acts(nn.Module):
    def __init__(self, act, *layers):
        super().__init__()
        self.conv, self.act = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *layers), act
        self.linear = nn.Linear(8, 5)

    def forward(self, x):
        return self.linear(self.act(self.conv(x)).mean((2, 3)))


INTEGERS = {
    "x * 2": lambda x: x * 2,
    "3 * x": lambda x: 3 * x,
    "x + 3": lambda x: x + 3,
    "x - 1": lambda x: x - 1,
    "1 - x": lambda x: 1 - x,
    "x / 6": lambda x: x / 6,
    "(x * 9) // 2": lambda x: (x * 9) // 2,
    "x.add(3, alpha=2)": lambda x: x.add(torch.ones_like(x), alpha=2) - 2,
    "clamp": lambda x: x.clamp(0, 6) + x.clamp(min=-1) + x.clamp(max=1),
    "in place": lambda x: F.relu(x).clone().mul_(2).add_(3).div_(4).sub_(1).clamp_(0, 2),
    "hard swish": lambda x: x * F.relu6(x + 3) / 6,
    "hard sigmoid": lambda x: x * ((x + 3).clamp(0, 6) / 6),
    "x ** 2": lambda x: x**2,
}
PADDINGS = {
    mode: lambda x, mode=mode: F.pad(x, (1, 2, 3, 0), mode)
    for mode in ("reflect", "replicate", "circular")
}
POOLS = {
    "average of padded": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "average without padding": lambda x: F.avg_pool2d(x, 3, 2, (1, 0), count_include_pad=False),
    "ceil that is floor": lambda x: F.max_pool2d(F.max_pool2d(x, 2), 2, ceil_mode=True),
    "average, ceil that is floor": lambda x: F.avg_pool2d(x, (4, 2), ceil_mode=True),
    "permuted, then flat": lambda x: x.flatten(2).permute(0, 2, 1).reshape(-1, 8, 16, 16),
}
CATS = {
    "one": lambda x: torch.cat([x], 1),
    "seven": lambda x: torch.cat([x, x + 1.0, x, 2 * x, x, x, x], 2),
    "nine": lambda x: torch.cat([x] * 9, 3),
}
NORMS = {
    "transposed": [nn.ConvTranspose2d(8, 8, 2, 2), nn.BatchNorm2d(8)],
    "transposed, groups": [nn.ConvTranspose2d(8, 8, 2, 2, groups=2, bias=False), nn.BatchNorm2d(8)],
    "norm after norm": [nn.BatchNorm2d(8), nn.BatchNorm2d(8, affine=False)],
    "three norms": [nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.BatchNorm2d(8)],
    "transposed to more": [nn.ConvTranspose2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.ReLU()],
}
FUNCTIONS = INTEGERS | PADDINGS | POOLS | CATS


def nets():
    torch.manual_seed(0)
    found = {name: Acts(act) for name, act in FUNCTIONS.items()}
    found |= {name: Acts(nn.Identity(), *layers) for name, layers in NORMS.items()}
    for network in found.values():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                if module.affine:
                    module.weight.data.uniform_(-1.5, 1.5)
                    module.bias.data.normal_()
    return found


@pytest.mark.parametrize("name", [*FUNCTIONS, *NORMS])
@torch.no_grad()
def test_rewriting_changes_no_value(name):
    network, x = nets()[name].eval(), make_images(4)
    graph = fit_for_xnnpack(capture(network, x, "here", 4).module(check_guards=False))
    torch.testing.assert_close(graph(x), network(x), rtol=1e-4, atol=1e-5)
    left = {str(node.target) for node in graph.graph.nodes}
    assert not left & {"aten.rsub.Scalar", "aten.floor_divide.default"}
    assert not [
        n
        for n in graph.graph.nodes
        if n.target is torch.ops.aten.pad.default and n.args[2] != "constant"
    ]


@pytest.mark.parametrize(
    "name", ["in place", "reflect", "average of padded", "seven", "transposed, groups"]
)
def test_the_runtime_takes_all_of_it(name, tmp_path):
    pytest.importorskip("executorch.exir")
    done = Pte(largest_batch=8)(nets()[name].eval(), tmp_path / "net", make_images(8), FACTS)
    assert done.sqnr_db > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FUNCTIONS, *NORMS])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_runtime_takes_all_of_each(name, precision, tmp_path):
    pytest.importorskip("executorch.exir")
    network = nets()[name].eval()
    if precision == "int8":
        network = quantize_static(network, [make_images(32)])
    assert Pte(largest_batch=8)(network, tmp_path / "net", make_images(8), FACTS).agreement == 1
