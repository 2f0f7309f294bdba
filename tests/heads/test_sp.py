import math

import pytest
import torch

from potstill.heads.sp import SP, similarity, similarity_loss
from tests.support.feature_cases import (
    golden,
    golden_maps,
    loss_of,
    t,
    two_maps,
)


def test_official_value():
    student, teacher = golden_maps()
    assert loss_of(SP(), [student], [teacher]).item() == pytest.approx(golden("sp"), rel=1e-9)


def test_similarity_in_plain_python():
    feature = t((3, 2, 1, 2), 0.9, 0.2)
    rows = feature.flatten(1).tolist()
    gram = [[sum(map(math.prod, zip(a, b, strict=True))) for b in rows] for a in rows]
    for got, row in zip(similarity(feature).tolist(), gram, strict=True):
        assert got == pytest.approx([value / math.hypot(*row) for value in row], rel=1e-12)


def test_pairs_are_summed():
    students, teachers = two_maps()
    expected = sum(similarity_loss(a, b).item() for a, b in zip(students, teachers, strict=True))
    got = loss_of(SP(["a", "b"], ["c", "d"]), students, teachers).item()
    assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("student_is_vit", [True, False])
def test_tokens_and_maps_mix(student_is_vit):
    tokens, feature = t((3, 5, 4), 0.31, 0.1), t((3, 2, 2, 2), 0.47, 0.2)
    students, teachers = [tokens], [feature]
    if not student_is_vit:
        students, teachers = teachers, students
    # All tokens count, the class token as well, in any order.
    shuffled = tokens.flip(1).reshape(3, 20, 1, 1)
    expected = similarity_loss(shuffled, feature).item()
    assert loss_of(SP(), students, teachers).item() == pytest.approx(expected, rel=1e-12)


def test_one_dead_sample_sends_no_gradient_into_the_others_maps():
    student, teacher = golden_maps()
    student[2] = 0
    student.requires_grad_()
    (grad,) = torch.autograd.grad(loss_of(SP(), [student], [teacher]), student)
    # An epsilon under the norm would send 1e12 here.
    assert grad.abs().max() < 1
