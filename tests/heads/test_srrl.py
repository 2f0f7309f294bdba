import pytest
import torch
from torch import nn

from potstill.heads.srrl import SRRL
from potstill.models.features.outputs import ModelOutputs
from tests.support.feature_cases import fill, fill_head, golden, golden_maps
from tests.support.tiny_nets import bind, cnn, make_images, vit


def official(beta):
    """A head of the golden shapes, its adapters and the classifier filled, in float64."""
    head = SRRL(beta=beta)
    bind(head, cnn(6), cnn(12, seed=1))
    fill_head(head.double().adapters)
    head.classifier = nn.Linear(12, 10).double()
    fill(list(head.classifier.parameters()))
    return head


@pytest.mark.parametrize(("beta", "name"), [(0, "srrl_stat"), (1, "srrl_beta1")])
def test_official_values(beta, name):
    head = official(beta)
    fs, ft = golden_maps()
    layer = "level-1"
    logits = head.classifier(ft.mean((2, 3)))
    student = ModelOutputs(fs.new_zeros(8, 10), {layer: fs})
    loss = head(student, ModelOutputs(logits, {layer: ft}), torch.zeros(8, dtype=torch.long))
    assert loss.item() == pytest.approx(golden(name), rel=1e-9)


def test_classifier_is_a_frozen_copy():
    teacher, head = cnn(seed=1), SRRL()
    bind(head, cnn(), teacher)
    assert not any(p.requires_grad for p in head.classifier.parameters())
    assert torch.equal(head.classifier.weight, teacher.fc.weight)
    assert head.classifier.weight.data_ptr() != teacher.fc.weight.data_ptr()


def test_exported_student_is_the_student():
    student, head = cnn(), SRRL()
    bind(head, student, cnn(seed=1))
    assert head.export(student) is student


def test_teacher_that_classifies_more_than_an_average():
    with pytest.raises(ValueError, match=r"SRRL: .*'level-1' \(2, 65, 12\)\. Fix: teacher=pooled"):
        bind(SRRL(), cnn(), vit())
    head = SRRL(teacher="pooled")
    ours, theirs = bind(head, cnn(), vit(seed=1))
    loss = head(ours(make_images(2)), theirs(make_images(2)), torch.zeros(2, dtype=torch.long))
    assert loss.isfinite()
