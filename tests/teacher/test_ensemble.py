"""The ensemble's logits against averages in plain Python."""

import math

import pytest
import torch
from torch import nn

from potstill.teacher.ensemble import TeacherEnsemble


class Says(nn.Module):
    """Answers the same logits to every image."""

    def __init__(self, *logits):
        super().__init__()
        self.register_buffer("logits", torch.tensor(logits))

    def forward(self, image):
        return self.logits.expand(len(image), -1)


IMAGE = torch.zeros(2, 3, 4, 4)


def softmax(logits):
    total = math.fsum(math.exp(x) for x in logits)
    return [math.exp(x) / total for x in logits]


def test_mean_of_probabilities():
    members = [(1.0, 2.0, -1.0), (0.5, -3.0, 4.0), (2.0, 2.0, 2.0)]
    found = TeacherEnsemble([Says(*logits) for logits in members])(IMAGE)
    columns = zip(*(softmax(logits) for logits in members), strict=True)
    expected = [math.fsum(column) / 3 for column in columns]
    assert found.exp().tolist() == [pytest.approx(expected, rel=1e-5)] * 2
    assert found.softmax(1).tolist() == [pytest.approx(expected, rel=1e-5)] * 2


def test_mean_of_logits():
    members = [Says(1.0, 2.0), Says(0.0, -4.0)]
    assert TeacherEnsemble(members, mean="logits")(IMAGE).tolist() == [[0.5, -1.0]] * 2


def test_very_sure_members_stay_finite():
    members = [Says(1000.0, 0.0, 0.0), Says(0.0, 1000.0, 0.0)]
    found = TeacherEnsemble(members)(IMAGE)
    assert found[0].tolist() == pytest.approx([math.log(0.5), math.log(0.5), -1000 - math.log(1)])


def test_half_precision_is_averaged_in_float32():
    found = TeacherEnsemble([Says(1.0, 2.0).half(), Says(3.0, -1.0).half()])(IMAGE)
    assert found.dtype == torch.float32
    expected = [(a + b) / 2 for a, b in zip(softmax((1, 2)), softmax((3, -1)), strict=True)]
    assert found[0].exp().tolist() == pytest.approx(expected, rel=1e-6)


def test_one_member_is_its_probabilities(tiny):
    member, image = tiny(4).eval(), torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(
        TeacherEnsemble([member])(image).softmax(1), member(image).softmax(1)
    )


def test_members_are_named_by_position(tiny):
    members = [tiny(4), tiny(8, seed=1)]
    ensemble = TeacherEnsemble(members)
    assert ensemble.get_submodule("members.1") is members[1]
    assert ensemble.get_submodule("members.0.conv") is members[0].conv


@pytest.mark.parametrize(("members", "mean"), [([], "probabilities"), ([Says(1.0)], "median")])
def test_settings(members, mean):
    with pytest.raises(ValueError, match=r"at least one|median"):
        TeacherEnsemble(members, mean)
