import math

import pytest
import torch

from potstill.heads.at import AT, attention_loss, attention_map
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
    head = bound(AT("a", "b"), [student], [teacher])
    assert loss_of(head, [student], [teacher]).item() == pytest.approx(golden("at_p2"), rel=1e-9)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0])
def test_attention_map_in_plain_python(p):
    feature = t((1, 3, 1, 2), 1.3, 0.1)
    (one, two) = zip(*feature[0, :, 0].tolist(), strict=True)
    raw = [sum(abs(value) ** p for value in column) / 3 for column in (one, two)]
    expected = [value / math.hypot(*raw) for value in raw]
    assert attention_map(feature, p)[0].tolist() == pytest.approx(expected, rel=1e-12)


def test_pairs_are_summed_and_a_smaller_student_is_no_obstacle():
    students, teachers = two_maps()
    expected = attention_loss(students[0], teachers[1]) + attention_loss(students[1], teachers[0])
    head = AT(["a", "b"], ["d", "c"])
    got = loss_of(head, students, teachers[::-1])
    assert got.item() == pytest.approx(expected.item(), rel=1e-12)
    pooled = torch.nn.functional.avg_pool2d(teachers[0], 2)
    assert attention_loss(students[1], teachers[0]).item() == pytest.approx(
        attention_loss(students[1], pooled).item(), rel=1e-12
    )


def test_scale_of_either_network_does_not_matter():
    student, teacher = golden_maps()
    expected = attention_loss(student, teacher).item()
    assert attention_loss(7 * student, 0.01 * teacher).item() == pytest.approx(expected, rel=1e-12)


def test_pooled_vectors_are_refused():
    head = AT("pooled", "level-1")
    features = [torch.zeros(2, 3)], [torch.zeros(2, 5, 4, 4)]
    with pytest.raises(ValueError, match=r"'pooled' \(2, 3\).*'level-1'.*one position"):
        head.bind(*signals(head, *features))


def test_p_below_one_is_refused():
    with pytest.raises(ValueError, match=r"got 0\.5"):
        AT(p=0.5)
