"""The quick copy against the teacher itself, on layers whose folding is known by hand."""

import pytest
import torch
from torch import nn

from potstill.models.features.extractor import FeatureExtractor
from potstill.teacher.folded import fold_teacher
from potstill.teacher.frozen import FrozenTeacher, sha256_of

IMAGE = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def teacher(tiny):
    network = tiny(8)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in (network.bn.running_mean, network.bn.bias):
            part.copy_(torch.randn(8, generator=generator))
        for part in (network.bn.running_var, network.bn.weight):
            part.copy_(torch.rand(8, generator=generator) + 0.5)
    return FrozenTeacher(network).network


def test_folded_weights_by_hand(teacher):
    before = sha256_of(teacher)
    fast = fold_teacher(teacher, IMAGE)
    assert fast.arithmetic == "float32, batch-norm folded, in place, channels last"
    assert fast.refused == ()
    modules = dict(fast.network.named_modules())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in modules.values())
    scale = teacher.bn.weight / (teacher.bn.running_var + teacher.bn.eps).sqrt()
    expected = teacher.conv.weight * scale[:, None, None, None]
    torch.testing.assert_close(modules["conv"].weight.detach(), expected.detach())
    assert modules["conv"].weight.is_contiguous(memory_format=torch.channels_last)
    assert sha256_of(teacher) == before


def test_same_answers_and_pooled_features(teacher):
    fast = fold_teacher(teacher, IMAGE)
    other = torch.randn(5, 3, 16, 16)
    ours, theirs = (
        FeatureExtractor(n, ["pooled"], (3, 16, 16))(other) for n in (fast.network, teacher)
    )
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.features["pooled"], theirs.features["pooled"])
    assert not any(p.requires_grad for p in fast.network.parameters())
    assert not any(module.training for module in fast.network.modules())
    found = float((fast.network(IMAGE) - teacher(IMAGE)).abs().max())
    assert fast.difference == pytest.approx(found / max(1, float(teacher(IMAGE).abs().max())))


def test_half_precision_only_within_its_tolerance(teacher):
    wide, narrow = (fold_teacher(teacher, IMAGE, torch.bfloat16, t) for t in (0.05, 1e-5))
    assert wide.arithmetic.endswith("channels last, bfloat16")
    assert 1e-5 < wide.difference <= 0.05
    assert wide.network(IMAGE).dtype == torch.float32
    assert narrow.arithmetic == "float32, batch-norm folded, in place, channels last"
    assert [text.split(":")[0] for text in narrow.refused] == ["bfloat16"]


class Overflowing(nn.Module):
    """Passes by 1e5, which float16 does not reach: there, infinity less infinity."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        large = image.mean((1, 2, 3)).sign()[:, None] * 500 * 200
        return self.network(image) + large - large


def test_a_copy_that_answers_nan_is_not_used(teacher):
    network = Overflowing(teacher)
    assert network(IMAGE).isfinite().all()
    fast = fold_teacher(network, IMAGE, torch.float16, tolerance=0.05)
    assert not fast.is_half
    assert fast.network(IMAGE).isfinite().all()
    assert [text.split(" >")[0] for text in fast.refused] == ["float16: off by nan"]


class Branching(nn.Module):
    """Cannot be traced: its path depends on the images."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, image):
        return self.network(image) if image.sum() > 1e9 else self.network(image) + 1


def test_a_network_that_cannot_be_traced_stays_unfolded(teacher):
    network = Branching(teacher)
    fast = fold_teacher(network, IMAGE)
    assert fast.arithmetic == "float32, channels last"
    assert fast.refused[0].startswith("batch-norm folded: TraceError")
    torch.testing.assert_close(fast.network(IMAGE), network(IMAGE))
