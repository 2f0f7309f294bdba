import pytest
import torch
import torch.nn.functional as F

from potstill.heads.nst import NST, selectivity_loss
from tests.support.feature_cases import (
    bound,
    golden,
    golden_maps,
    loss_of,
    signals,
    t,
    two_maps,
)


def test_official_value():
    student, teacher = golden_maps()
    head = bound(NST("a", "b"), [student], [teacher])
    assert loss_of(head, [student], [teacher]).item() == pytest.approx(golden("nst"), rel=1e-9)


def test_discrepancy_in_plain_loops():
    student, teacher = t((2, 2, 1, 3), 0.9, 0.2), t((2, 3, 1, 3), 0.7, 0.3)
    expected = 0.0
    for ours, theirs in zip(student, teacher, strict=True):
        for first, second, sign in [(ours, ours, 1), (theirs, theirs, 1), (ours, theirs, -2)]:
            values = [
                F.cosine_similarity(a.flatten(), b.flatten(), dim=0).item() ** 2
                for a in first
                for b in second
            ]
            expected += sign * sum(values) / len(values) / 2
    assert selectivity_loss(student, teacher).item() == pytest.approx(expected, rel=1e-9)


def test_equal_neurons_in_another_order_have_no_discrepancy():
    student = t((2, 4, 3, 3), 0.9, 0.2)
    teacher = torch.cat([student.flip(1), 5 * student], dim=1)
    assert selectivity_loss(student, teacher).item() == pytest.approx(0, abs=1e-14)


def test_pairs_are_summed_and_a_smaller_student_is_no_obstacle():
    students, teachers = two_maps()
    expected = selectivity_loss(students[0], teachers[1]) + selectivity_loss(
        students[1], F.avg_pool2d(teachers[0], 2)
    )
    got = loss_of(NST(["a", "b"], ["d", "c"]), students, teachers[::-1]).item()
    assert got == pytest.approx(expected.item(), rel=1e-12)


def test_pooled_vectors_are_refused():
    head = NST("pooled", "level-1")
    features = [torch.zeros(2, 3)], [torch.zeros(2, 5, 4, 4)]
    with pytest.raises(ValueError, match=r"'pooled' \(2, 3\).*'level-1'.*one position"):
        head.bind(*signals(head, *features))
