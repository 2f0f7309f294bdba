"""Which test images tell two classifiers apart, by hand."""

import numpy as np
import pytest
import torch

from potstill.tasks.differences import differing, examples
from potstill.tasks.parts import NetworkOutputs

TARGETS = torch.tensor([0, 0, 0, 0, 0, 0])


def says(classes, sure):
    logits = torch.zeros(len(classes), 3)
    logits[torch.arange(len(classes)), torch.tensor(classes)] = torch.tensor(sure)
    return logits


STUDENT = says([0, 1, 1, 0, 2, 1], [9.0, 2.0, 5.0, 3.0, 8.0, 4.0])
TEACHER = says([0, 0, 0, 1, 1, 1], [9.0, 9.0, 9.0, 9.0, 9.0, 9.0])


def test_lost_before_won_before_both_wrong_the_surest_first():
    # 0 both right; 2 and 1 lost; 3 won; 4 both wrong, differently; 5 both wrong, alike.
    assert differing(STUDENT, TEACHER, TARGETS).tolist() == [2, 1, 3, 4]


def test_places_are_kept_for_what_was_won():
    assert differing(STUDENT, TEACHER, TARGETS, most=3).tolist() == [2, 1, 3]
    assert differing(STUDENT, TEACHER, TARGETS, most=2).tolist() == [2, 1]
    many = says([1, 1, 1, 1, 1, 0], [2.0] * 6)
    other = says([0, 0, 0, 0, 0, 1], [2.0] * 6)
    assert differing(many, other, TARGETS, most=3).tolist() == [0, 1, 5]


def test_without_a_teacher_the_surest_mistakes():
    assert differing(STUDENT, None, TARGETS).tolist() == [4, 2, 5, 1]


def test_descriptions_name_classes_and_confidences():
    positions = torch.tensor([4])
    images = torch.zeros(1, 3, 4, 4)
    names = ("cat", "dog", "owl")
    networks = {"teacher": TEACHER, "student": STUDENT}
    tested = NetworkOutputs(networks, TARGETS, "student", names, images=None)
    (found,) = examples(tested, positions, images)
    expected = np.exp(8) / (np.exp(8) + 2)
    assert (found["position"], found["target"]) == (4, "cat")
    assert found["ours"] == ("owl", pytest.approx(expected, abs=1e-4))
    assert found["theirs"][0] == "dog"
    alone = NetworkOutputs({"student": STUDENT}, TARGETS, "student", names, images=None)
    (alone,) = examples(alone, positions, images)
    assert alone["theirs"] is None
