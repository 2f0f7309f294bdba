"""A small residual network that has learnt scikit-learn's digits: seconds, once a session."""

from functools import cache

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from potstill.models.cifar_resnet import cifar_resnet
from potstill.quantization.observers import activation_quantizers


@cache
def make_images(test=False):
    """Return (images (N, 3, 16, 16) in [-1, 1], labels (N,)); 360 of them are for testing."""
    images, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(images).float().view(-1, 1, 8, 8) / 8 - 1
    large = F.interpolate(small, size=16, mode="bilinear").expand(-1, 3, -1, -1)
    rows = torch.randperm(len(large), generator=torch.Generator().manual_seed(0))
    rows = rows[:360] if test else rows[360:]
    return large[rows].contiguous(), torch.from_numpy(labels)[rows]


def training_batches(epoch=0, size=64):
    images, labels = make_images()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(epoch))
    return [(images[rows], labels[rows]) for rows in order.split(size)[:-1]]


@cache
def trained(epochs=3):
    torch.manual_seed(0)
    network = cifar_resnet(8, 10)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for epoch in range(epochs):
        for images, labels in training_batches(epoch):
            optimizer.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()
    return network.eval()


def accuracy(logits):
    return 100 * (logits.argmax(1) == make_images(test=True)[1]).float().mean().item()


def sqnr(exact, found):
    """Return the signal-to-noise ratio in dB."""
    return 10 * torch.log10(exact.square().sum() / (exact - found).square().sum()).item()


def assert_steps_apart(prepared, fake, int8):
    """Hold a converted network to its fake-quantized one by their logits (N, K).

    A float sum rounds in another order on another processor, and a value at a rounding boundary
    then falls on its other side. That moves a logit by one step of the grid, rarely by two, and
    a prediction only where the two best logits are closer than what both of them may move.
    """
    grid = activation_quantizers(prepared)[-1]
    step = (grid.hi.max() - grid.lo.min()) / 255
    steps = (fake - int8).abs() / step
    assert (steps - steps.round()).abs().max() < 1e-3  # both are on the grid
    assert steps.max() < 2.5
    assert (steps > 1.5).float().mean() < 0.01
    best, second = fake.topk(2).values.unbind(1)
    at_boundary = best - second < 4.5 * step
    assert at_boundary.float().mean() < 0.05
    assert not ((fake.argmax(1) != int8.argmax(1)) & ~at_boundary).any()
    assert sqnr(fake, int8) >= 30
