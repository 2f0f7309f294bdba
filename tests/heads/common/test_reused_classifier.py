import torch
from torch import nn

from potstill.heads.common.reused_classifier import ReusedClassifier, ToMap
from tests.support.tiny_nets import make_images


class Overwriting(nn.Module):
    """Adds to the first layer's output in place, as some networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        out = self.first(x)
        out += 100
        return self.last(out)


def parts():
    torch.manual_seed(0)
    return Overwriting(), nn.Conv2d(4, 6, 1), nn.Linear(6, 5)


def test_output_is_read_before_it_is_overwritten():
    body, projector, classifier = parts()
    whole = ReusedClassifier(body, "first", "output", nn.Identity(), projector, classifier)
    images = make_images(2, 8)
    expected = classifier(projector(body.first(images)).mean((2, 3)))
    torch.testing.assert_close(whole(images), expected)


def test_input_of_a_layer():
    body, projector, classifier = parts()
    resize = nn.AdaptiveAvgPool2d(2)
    whole = ReusedClassifier(body, "last", "input", resize, projector, classifier)
    images = make_images(2, 8)
    expected = classifier(projector(resize(body.first(images) + 100)).mean((2, 3)))
    torch.testing.assert_close(whole(images), expected)


def test_no_hook_stays_behind():
    body, projector, classifier = parts()
    whole = ReusedClassifier(body, "first", "output", nn.Identity(), projector, classifier)
    whole(make_images(1, 8))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in whole.modules())


def test_tokens_become_a_map():
    tokens = torch.arange(2 * 5 * 3.0).reshape(2, 5, 3)
    expected = tokens[:, 1:].transpose(1, 2).reshape(2, 3, 2, 2)
    assert torch.equal(ToMap()(tokens), expected)
