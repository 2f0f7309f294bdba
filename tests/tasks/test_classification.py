"""Classification against scikit-learn, plain torch and sums by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from sklearn.metrics import accuracy_score

from potstill.config.compose import Command, configs
from potstill.config.instantiate import instantiate
from potstill.config.stage_settings import parse_stages
from potstill.config.validate import validate
from potstill.errors import ConfigError
from potstill.tasks.base import check_task
from potstill.tasks.classification import Classification
from potstill.tasks.parts import NetworkOutputs
from potstill.tasks.scoring import CLASSIFICATION
from potstill.training.module import DistillationModule
from tests.support.places import CONF

GENERATOR = torch.Generator().manual_seed(0)
OURS, THEIRS = torch.randn(2, 40, 4, generator=GENERATOR)
TARGETS = torch.randint(4, (40,), generator=GENERATOR)


def test_the_loss_is_cross_entropy_with_smoothed_labels():
    task = Classification(label_smoothing=0.1)
    smooth = 0.9 * F.one_hot(TARGETS, 4) + 0.1 / 4
    by_hand = -(smooth * OURS.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(task.loss(OURS, TARGETS), by_hand)
    soft = THEIRS.softmax(1)
    plain = -(soft * OURS.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(Classification().loss(OURS, soft), plain)


def test_a_mixed_image_counts_for_the_class_that_has_most_of_it():
    outputs, mixed = torch.eye(3), torch.tensor([[0.6, 0.4, 0], [0.6, 0.4, 0], [0, 0.1, 0.9]])
    found = Classification().step_scores(outputs, mixed)["accuracy"]
    assert found.item() == pytest.approx(2 / 3)


def test_scores_are_those_of_scikit_learn_and_none_needs_an_absent_teacher():
    task, predicted = Classification(), OURS.argmax(1)
    found = task.evaluate(OURS, TARGETS, THEIRS)
    assert found["accuracy"] == task.score(OURS, TARGETS) == accuracy_score(TARGETS, predicted)
    assert found["agreement"] == accuracy_score(THEIRS.argmax(1), predicted)
    alone = task.evaluate(OURS, TARGETS)
    assert [name for name, value in alone.items() if value is None] == ["agreement", "divergence"]
    assert list(alone) == [score.name for score in CLASSIFICATION.scores]


def test_two_agree_where_the_top_class_is_one_or_as_near_as_the_slack():
    ours = torch.tensor([[3.0, 2.9, 0.0], [3.0, 1.0, 0.0], [3.0, 1.0, 0.0]])
    theirs = torch.tensor([[2.9, 3.0, 0.0], [1.0, 3.0, 0.0], [9.0, 1.0, 0.0]])
    task = Classification()
    assert task.agree(ours, theirs).tolist() == [False, False, True]
    assert task.agree(ours, theirs, slack=0.2).tolist() == [True, False, True]


def test_guessing_reaches_chance_and_three_sigma():
    chance = 1 / 4
    expected = chance + 3 * math.sqrt(chance * (1 - chance) / 40)
    assert Classification().untrained_score(OURS, TARGETS) == pytest.approx(expected)


def test_class_names_must_be_as_many_as_the_outputs():
    tested = NetworkOutputs({"net": OURS}, TARGETS, "net", ["cat", "dog"], images=None)
    with pytest.raises(ValueError, match="2 names for 4 classes"):
        Classification().parts(tested)


def test_data_without_classes_is_refused():
    with pytest.raises(ConfigError, match="data=Boxes: has no classes"):
        Classification().check_data(SimpleNamespace(num_classes=None, dataset_name="Boxes"))


def composed(*overrides):
    [cfg] = configs(Command(CONF, overrides=overrides))
    validate(cfg)
    return cfg


@pytest.mark.parametrize("key", ["module.label_smoothing", "task.label_smoothing"])
def test_label_smoothing_of_the_module_or_the_task_reaches_the_task(key):
    assert check_task(instantiate(composed(f"{key}=0.2").task)).label_smoothing == 0.2


def test_a_stage_may_smooth_otherwise():
    cfg = composed("+stage@stages.qat=qat", "+stages.qat.module.label_smoothing=0.3")
    [stage] = parse_stages(cfg)
    found = instantiate(cfg.task).label_smoothing, instantiate(stage.cfg.task).label_smoothing
    assert found == (0.0, 0.3)


def test_two_places_for_one_setting_are_refused(tiny):
    both = ["module.label_smoothing=0.1", "task.label_smoothing=0.2"]
    with pytest.raises(ConfigError, match=r"module\.label_smoothing=0\.1: the task .* not read it"):
        composed(*both)
    with pytest.raises(ConfigError, match=r"module\.label_smoothing=0\.1: the task has settings"):
        DistillationModule(tiny(4), label_smoothing=0.1, task=Classification())
    with pytest.raises(ConfigError, match=r"label_smoothing=1\.5: not in \[0, 1\]"):
        Classification(label_smoothing=1.5)


def test_a_task_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="task=none: must be a mapping"):
        validate(OmegaConf.merge(composed(), {"task": "none"}))


def test_with_few_labels_the_loss_is_the_mean_over_those():
    task = Classification(label_smoothing=0.1)
    task.check_data(SimpleNamespace(labelled=torch.tensor([0]), num_classes=4, dataset_name=""))
    hidden = TARGETS.clone()
    hidden[10:] = -1
    expected = F.cross_entropy(OURS[:10], TARGETS[:10], label_smoothing=0.1)
    torch.testing.assert_close(task.loss(OURS, hidden), expected)
    outputs = OURS.clone().requires_grad_()
    (grad,) = torch.autograd.grad(task.loss(outputs, torch.full((40,), -1)), outputs)
    assert not grad.any()  # a batch without any
