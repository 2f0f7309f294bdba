import pytest
import torch

from potstill.heads.ab import AB, boundary_loss
from tests.support.feature_cases import (
    bound,
    golden,
    loss_of,
    t,
    two_maps,
)


def test_official_value():
    students, teachers = two_maps()
    head = bound(AB(["a", "b"], ["c", "d"]), students, teachers)
    assert not list(head.parameters())
    assert loss_of(head, students, teachers).item() == pytest.approx(golden("ab_margin1"), rel=1e-9)


@pytest.mark.parametrize("margin", [0.0, 1.0, 2.5])
def test_boundary_in_plain_python(margin):
    student, teacher = t((2, 3, 2, 2), 0.9, 0.2, 3.0), t((2, 3, 2, 2), 0.7, 0.3)
    teacher[0, 0, 0, 0] = 0.0  # on the boundary counts as inactive
    expected = 0.0
    for ours, theirs in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True):
        short = margin - ours if theirs > 0 else ours + margin
        expected += max(short, 0.0) ** 2
    got = boundary_loss(student, teacher, margin).item()
    assert got == pytest.approx(expected / 2 * 3 / 1000, rel=1e-12)


def test_each_layer_counts_half_of_the_next():
    students = [t((2, 3, 4, 4), 0.3, 0.1 * i) for i in range(3)]
    teachers = [t((2, 3, 4, 4), 0.4, 0.2 * i) for i in range(3)]
    parts = [boundary_loss(a, b).item() for a, b in zip(students, teachers, strict=True)]
    head = bound(AB(), students, teachers)
    expected = parts[0] / 4 + parts[1] / 2 + parts[2]
    assert loss_of(head, students, teachers).item() == pytest.approx(expected, rel=1e-12)


def test_other_shapes_get_a_linear_connector():
    student, teacher = t((2, 3, 8, 8), 0.3, 0.1), t((2, 5, 4, 4), 0.4, 0.2)
    head = bound(AB("a", "b"), [student], [teacher])
    connected = head.adapters[0](student)
    assert connected.min() < 0 < connected.max()
    expected = boundary_loss(connected, teacher).item()
    assert loss_of(head, [student], [teacher]).item() == pytest.approx(expected, rel=1e-9)


def test_dead_neurons_are_pushed_by_the_margin_only():
    student = torch.zeros(1, 1, 1, 2, requires_grad=True)
    teacher = torch.tensor([[[[1.0, -1.0]]]])
    boundary_loss(student, teacher, margin=2.0).backward()
    assert student.grad.flatten().tolist() == pytest.approx([-0.012, 0.012])


def test_a_negative_margin_is_refused():
    with pytest.raises(ValueError, match="got -1"):
        AB(margin=-1)
