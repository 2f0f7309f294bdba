"""Every published value is held by a test, those of more than one head among them here."""

import pytest
import torch

from potstill.heads.kd import KD
from potstill.models.features.outputs import ModelOutputs
from potstill.training.module import DistillationModule
from tests.support.golden import GOLDEN
from tests.support.places import ROOT

TESTS = ROOT / "tests"
LABELS = torch.tensor(GOLDEN["_inputs"]["y"])


def t(a, b, s):
    """Return the (8, 10) tensor that the golden README calls t((8, 10), a, b, s)."""
    return (s * torch.sin(a * torch.arange(80, dtype=torch.float64) + b)).view(8, 10)


def test_every_value_is_named_in_a_test():
    text = "".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    assert [key for key in GOLDEN if key != "_inputs" and f'"{key}"' not in text] == []


def test_kd_is_also_mdistillers():
    head = KD(temperature=4.0)
    value = head(ModelOutputs(t(0.37, 0.1, 3)), ModelOutputs(t(0.53, 0.2, 5)), LABELS)
    assert value.item() == pytest.approx(GOLDEN["kd_T4_mdistiller"]["value"], rel=1e-9)


def test_the_task_loss_of_one_view_and_of_two(tiny):
    module = DistillationModule(tiny())
    weak, strong = ModelOutputs(t(0.37, 0.1, 3)), ModelOutputs(t(0.41, 0.5, 3))
    one = module._task(weak, LABELS)
    assert one.item() == pytest.approx(GOLDEN["ce"]["value"], rel=1e-9)
    # MLKD sums the views at .1 each, the module takes their mean: hence task_weight=0.2.
    two = 0.2 * module._task(ModelOutputs(weak.logits, views=(strong,)), LABELS)
    assert two.item() == pytest.approx(GOLDEN["mlkd_loss_ce"]["value"], rel=1e-9)
