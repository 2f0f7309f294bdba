import math

import pytest
import torch

from potstill.heads.common.schedules import Linear
from potstill.heads.cwd import CWD, channel_divergence
from tests.support.feature_cases import (
    bound,
    golden_maps,
    loss_of,
    t,
)


def by_hand(student, teacher, temperature):
    """The formula in plain Python, over lists of channels of positions."""

    def softmax(values):
        powers = [math.exp(value / temperature) for value in values]
        return [power / sum(powers) for power in powers]

    total = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        p, q = softmax(ours), softmax(theirs)
        total += sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_plain_python(temperature):
    student, teacher = t((2, 3, 2, 4), 0.31, 0.1, 3.0), t((2, 3, 2, 4), 0.47, 0.2, 3.0)
    rows = [x.reshape(6, 8).tolist() for x in (student, teacher)]
    loss = channel_divergence(student, teacher, temperature)
    assert loss.item() == pytest.approx(by_hand(*rows, temperature), rel=1e-12)


def test_hot_limit_is_half_the_variance_of_the_difference():
    student, teacher = t((2, 3, 4, 4), 0.31, 0.1), t((2, 3, 4, 4), 0.47, 0.2)
    expected = (teacher - student).flatten(2).var(2, correction=0).mean() / 2
    assert channel_divergence(student, teacher, 1e4).item() == pytest.approx(
        expected.item(), rel=1e-3
    )


def test_constant_per_channel_changes_nothing():
    student, teacher = t((2, 3, 4, 4), 0.31, 0.1), t((2, 3, 4, 4), 0.47, 0.2)
    moved = student + t((2, 3, 1, 1), 1.0, 0.0, 5.0)
    expected = channel_divergence(student, teacher, 4.0)
    torch.testing.assert_close(channel_divergence(moved, teacher, 4.0), expected)
    assert channel_divergence(teacher, teacher, 4.0).item() == pytest.approx(0, abs=1e-15)


def test_head_aligns_width_and_size():
    fs, ft = golden_maps()  # 6 channels of 8x8, 12 of 4x4
    head = bound(CWD(), [fs], [ft])
    (conv,) = head.align
    pooled = fs.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5))
    aligned = torch.einsum("oc,nchw->nohw", conv.weight[:, :, 0, 0], pooled)
    expected = channel_divergence(aligned + conv.bias[:, None, None], ft, 4.0)
    assert loss_of(head, [fs], [ft]).item() == pytest.approx(expected.item(), rel=1e-12)
    assert head.weight_at(0) == 50


def test_pairs_are_added_and_temperature_follows_its_schedule():
    maps, others = [t((2, 3, 4, 4), 0.31, 0.1)] * 2, [t((2, 3, 4, 4), 0.47, 0.2)] * 2
    head = bound(CWD(["a", "b"], ["c", "d"], Linear(4.0, 1.0, epochs=10)), maps, others)
    assert not list(head.parameters())
    for epoch, temperature in [(0.0, 4.0), (10.0, 1.0)]:
        head.epoch = epoch
        expected = 2 * channel_divergence(maps[0], others[0], temperature)
        torch.testing.assert_close(loss_of(head, maps, others), expected)


def test_one_position_has_no_distribution():
    with pytest.raises(ValueError, match=r"'pooled' \(2, 3\).*'level-1' \(2, 5, 2, 2\).*Fix"):
        bound(CWD("pooled"), [t((2, 3), 1, 1)], [t((2, 5, 2, 2), 1, 1)])


def test_settings():
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        CWD(temperature=0)
    with pytest.raises(ValueError, match="needs at least 1"):
        CWD((), ())
