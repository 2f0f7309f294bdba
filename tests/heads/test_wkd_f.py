import statistics

import pytest
import torch

from potstill.heads.wkd_f import WKDF, gaussian_distance
from tests.support.feature_cases import (
    bound,
    golden_maps,
    loss_of,
    t,
)


def by_hand(student, teacher, ratio, eps):
    """The formula in plain Python, over lists (N, C, positions)."""
    total = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            total += ratio * (statistics.fmean(a) - statistics.fmean(b)) ** 2
            spread = [(statistics.variance(x) + eps) ** 0.5 for x in (a, b)]
            total += (spread[0] - spread[1]) ** 2
    return total / len(student)


def test_plain_python_with_maps_of_two_sizes():
    student, teacher = t((2, 3, 4, 4), 0.31, 0.1, 2.0), t((2, 3, 2, 3), 0.47, 0.2, 3.0)
    rows = [x.flatten(2).tolist() for x in (student, teacher)]
    loss = gaussian_distance(student, teacher, mean_cov_ratio=3.0, eps=1e-3)
    assert loss.item() == pytest.approx(by_hand(*rows, 3.0, 1e-3), rel=1e-12)


def test_a_shift_costs_its_square_and_a_scale_its_deviation():
    teacher = t((2, 3, 4, 4), 0.47, 0.2)
    assert gaussian_distance(teacher + 0.5, teacher).item() == pytest.approx(2 * 3 * 0.25)
    centred = teacher - teacher.mean((2, 3), keepdim=True)
    deviation = centred.var((2, 3)).sum() / 2
    loss = gaussian_distance(3 * centred, centred, eps=1e-12)
    assert loss.item() == pytest.approx(4 * deviation.item(), rel=1e-6)


def test_order_of_positions_does_not_matter():
    teacher = t((2, 3, 4, 4), 0.47, 0.2)
    assert gaussian_distance(teacher.flip(2, 3), teacher).item() == pytest.approx(0, abs=1e-20)


def test_head_meets_through_the_bottleneck():
    fs, ft = golden_maps()
    head = bound(WKDF(mean_cov_ratio=1.5, hidden=7), [fs], [ft])
    (projector,) = head.projectors
    sizes = [m.weight.shape for m in projector if isinstance(m, torch.nn.Conv2d)]
    assert sizes == [(7, 6, 1, 1), (7, 7, 3, 3), (12, 7, 1, 1)]
    projected = projector(fs)
    assert projected.min() == 0
    expected = gaussian_distance(projected, ft, 1.5)
    assert loss_of(head, [fs], [ft]).item() == pytest.approx(expected.item(), rel=1e-12)


def test_pairs_are_added():
    maps, others = [t((4, 3, 4, 4), 0.31, 0.1)] * 2, [t((4, 5, 2, 2), 0.47, 0.2)] * 2
    one = bound(WKDF(hidden=4), maps[:1], others[:1])
    two = bound(WKDF(["a", "b"], ["c", "d"], hidden=4), maps, others)
    two.projectors[1].load_state_dict(one.projectors[0].state_dict())
    first = loss_of(one, maps[:1], others[:1])
    two.projectors[0].load_state_dict(two.projectors[1].state_dict())
    torch.testing.assert_close(loss_of(two, maps, others), 2 * first)


def test_one_position_has_no_variance():
    with pytest.raises(ValueError, match=r"'level-1' \(2, 3, 2, 2\).*'pooled' \(2, 5\).*variance"):
        bound(WKDF(teacher="pooled"), [t((2, 3, 2, 2), 1, 1)], [t((2, 5), 1, 1)])


def test_settings():
    with pytest.raises(ValueError, match=r"got -1, 256, 1e-05"):
        WKDF(mean_cov_ratio=-1)
