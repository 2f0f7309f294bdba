"""Small networks of kinds that pruning tools get wrong, and what they compute without channels."""

import torch
from torch import nn
from torch.nn import functional as F

from potstill.pruning.channels.criteria.l2_magnitude import L2Magnitude
from potstill.pruning.channels.prune import prune_channels
from potstill.pruning.channels.target import Target

TINY = (3, 8, 8)


class Moved(nn.Module):
    """conv, norm, ReLU, something that moves channels, conv, pool, LayerNorm, linear."""

    def __init__(self, move, read=16, made=16):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, made, 3, padding=1), nn.BatchNorm2d(made)
        self.move = move
        self.second, self.head_norm = nn.Conv2d(read, 12, 3, padding=1), nn.LayerNorm(12)
        self.head = nn.Linear(12, 5)

    def make(self, x):
        return F.relu(self.norm(self.first(x)))

    def forward(self, x):
        pooled = F.relu(self.second(self.move(self.make(x)))).mean((2, 3))
        return self.head(self.head_norm(pooled))


class Sequence(nn.Module):
    """A stem, a block in the middle and a linear head."""

    def __init__(self, block, channels=16, stem=None):
        super().__init__()
        self.stem = stem or nn.Conv2d(3, channels, 3, padding=1)
        self.block, self.head = block, nn.Linear(channels, 5)

    def forward(self, x):
        return self.head(self.block(self.stem(x)).mean((2, 3)))


def seeded(make, seed=0):
    """Return the network in eval mode, all its parameters and statistics random."""
    torch.manual_seed(seed)
    net = make()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(0.3, 1.2)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.5)
    return net.eval()


def prune(net, ratio=0.5, shape=TINY, **options):
    """Prune to half the channels, by magnitude."""
    return prune_channels(net, shape, L2Magnitude(), Target(ratio=ratio), round_to=1, **options)


def kept(plan, path, width):
    """Return the channels of a layer's outputs that a plan keeps."""
    sides = plan.layers.get(path, {})
    return list(sides["out"].channels) if "out" in sides else list(range(width))


def images(count=4, shape=TINY):
    """Return random images."""
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def moved_without(net, plan, x):
    """Return the logits of a dense `Moved` with zeros where channels went, normed over the rest."""
    mask = torch.zeros(net.first.out_channels)
    mask[kept(plan, "first", len(mask))] = 1
    there = kept(plan, "second", 12)
    maps = net.second(net.move(net.make(x) * mask[:, None, None]))
    pooled = F.relu(maps).mean((2, 3))[:, there]
    norm = net.head_norm
    pooled = F.layer_norm(pooled, (len(there),), norm.weight[there], norm.bias[there], norm.eps)
    return F.linear(pooled, net.head.weight[:, there], net.head.bias)
