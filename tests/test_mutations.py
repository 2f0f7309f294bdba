"""Break the code as others have broken it: each mutant must be caught."""

import importlib.util
import inspect
import json
from pathlib import Path

import pytest
import torch

from potstill.heads import kd
from potstill.models.features.outputs import ModelOutputs
from potstill.teacher import frozen

GOLDEN = json.loads((Path(__file__).parent / "golden" / "kd_losses.json").read_text())


def mutant(module, old, new, folder):
    """Return `module` with one piece of its source replaced."""
    source = inspect.getsource(module)
    assert source.count(old) == 1, old
    path = folder / "mutant.py"
    path.write_text(source.replace(old, new))
    spec = importlib.util.spec_from_file_location("mutant", path)
    changed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(changed)
    return changed


def filled(shape, a, b, s):
    flat = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return (s * torch.sin(a * flat + b)).view(shape)


def kd_equals_the_official_value(module):
    student, teacher = filled((8, 10), 0.37, 0.1, 3.0), filled((8, 10), 0.53, 0.2, 5.0)
    value = module.KD(temperature=4.0)(
        ModelOutputs(student), ModelOutputs(teacher), torch.zeros(8).long()
    )
    return value.item() == pytest.approx(GOLDEN["kd_T4"]["value"], rel=1e-9)


def test_the_code_itself_passes(tmp_path):
    assert kd_equals_the_official_value(kd)


@pytest.mark.filterwarnings("ignore:reduction")  # torch warns of "mean" too
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("temperature**2 * F.kl_div", "F.kl_div"),  # no T^2
        ("F.kl_div(log_p, log_q,", "F.kl_div(log_q, log_p,"),  # swapped
        ('reduction="batchmean"', 'reduction="mean"'),  # divided by the classes as well
    ],
    ids=["no T^2", "swapped KL", "mean for batchmean"],
)
def test_a_wrong_loss_is_caught(old, new, tmp_path):
    assert not kd_equals_the_official_value(mutant(kd, old, new, tmp_path))


def stays_in_eval(module, network):
    teacher = module.FrozenTeacher(network.train())
    teacher.network.train()
    return not any(part.training for part in network.modules())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (".requires_grad_(False).eval()", ".requires_grad_(False)"),
        ("module.train = MethodType(_stay_in_eval, module)", "pass"),
    ],
    ids=["no eval", "train() wakes it"],
)
def test_a_teacher_in_train_mode_is_caught(old, new, tiny, tmp_path):
    assert stays_in_eval(frozen, tiny())
    assert not stays_in_eval(mutant(frozen, old, new, tmp_path), tiny())
