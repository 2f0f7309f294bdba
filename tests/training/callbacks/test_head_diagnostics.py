"""Logged norms and cosines against gradients taken by hand."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers.logger import Logger

from potstill.heads.base import Head
from potstill.heads.kd import KD
from potstill.heads.mse import MSE
from potstill.training.callbacks.head_diagnostics import HeadDiagnostics
from potstill.training.module import DistillationModule


class Kept(Logger):
    """Keeps the metrics it is given, by step."""

    name, version = "kept", 0

    def __init__(self):
        super().__init__()
        self.rows = {}

    def log_hyperparams(self, *_, **__):
        pass

    def log_metrics(self, metrics, step=None):
        self.rows.setdefault(step, {}).update(metrics)


class Constant(Head):
    """A term that no student's weight reaches."""

    kind = "feature"

    def forward(self, student, teacher, target):
        return teacher.logits.square().mean()


def make(tiny, heads, alpha=None):
    sgd = partial(torch.optim.SGD, lr=0.1)
    return DistillationModule(
        tiny(4), tiny(8, seed=1), heads, alpha=alpha, optimizer=sgd, image_shape=(3, 16, 16)
    )


def fit(module, trainer, data, every, **settings):
    logger = Kept()
    callbacks = [HeadDiagnostics(every)]
    trainer(logger=logger, callbacks=callbacks, log_every_n_steps=100, **settings).fit(module, data)
    steps = {k: v for k, v in logger.rows.items() if any(n.startswith("gradient/") for n in v)}
    return {k: {n: x for n, x in v.items() if n.startswith("gradient/")} for k, v in steps.items()}


def by_hand(student, teacher, image, target):
    """Return the gradient of each unweighted term as one vector, with plain torch."""
    logits, theirs = student(image), teacher(image).detach()
    soft = (theirs / 2).softmax(1)
    terms = {
        "task": F.cross_entropy(logits, target),
        "kd": 4 * (soft * (soft.log() - (logits / 2).log_softmax(1))).sum(1).mean(),
        "mse": F.mse_loss(logits, theirs),
    }
    gradients = {}
    for name, term in terms.items():
        student.zero_grad()
        term.backward(retain_graph=True)
        gradients[name] = torch.cat([p.grad.flatten() for p in student.parameters()])
    return gradients


def test_norms_and_cosines_by_hand(tiny, batches, loader, trainer):
    module = make(tiny, {"kd": KD(temperature=2.0, weight=0.7), "mse": MSE(weight=0.2)})
    student, teacher = copy.deepcopy(module.student), copy.deepcopy(module.teacher.network)
    found = fit(module, trainer, loader(batches), 100)
    assert list(found) == [0]
    image, target, _ = batches[0]
    gradients = by_hand(student, teacher, image, target)
    weights = {"task": 1.0, "kd": 0.7, "mse": 0.2}
    expected = {f"gradient/{n}_norm": w * gradients[n].norm().item() for n, w in weights.items()}
    for name in ("kd", "mse"):
        a, b = gradients[name].double(), gradients["task"].double()
        expected[f"gradient/{name}_cosine"] = (a @ b / a.norm() / b.norm()).item()
    assert found[0] == pytest.approx(expected, rel=1e-4)


def test_only_every_nth_step_costs_a_backward_pass(tiny, batches, loader, trainer, monkeypatch):
    module, calls, whole = make(tiny, {"kd": KD()}), [], torch.autograd.grad

    def counted(*args, **kwargs):
        calls.append(module.global_step)
        return whole(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    found = fit(module, trainer, loader(batches), 3, max_epochs=2)  # 8 steps
    assert list(found) == [0, 3, 6]
    assert calls == [0, 0, 3, 3, 6, 6]  # the task and one head each time


def test_training_goes_on_as_without(tiny, batches, loader, trainer):
    students = []
    for callbacks in ([], [HeadDiagnostics(1)]):
        module = make(tiny, {"kd": KD()}, alpha=0.5)
        trainer(callbacks=callbacks).fit(module, loader(batches))
        students.append(module.student.state_dict())
    assert all(torch.equal(students[0][name], students[1][name]) for name in students[0])


def test_a_term_that_reaches_no_weight_is_zero(tiny, batches, loader, trainer):
    module = make(tiny, {"kd": KD(), "constant": Constant()})
    found = fit(module, trainer, loader(batches), 100)[0]
    assert found["gradient/constant_norm"] == 0
    assert found["gradient/constant_cosine"] == 0
    assert found["gradient/kd_norm"] > 0


def test_frozen_layers_are_left_out(tiny, batches, loader, trainer):
    module = make(tiny, {"kd": KD()})
    module.student.conv.requires_grad_(False)
    student = copy.deepcopy(module.student)
    found = fit(module, trainer, loader(batches), 100)[0]
    image, target, _ = batches[0]
    F.cross_entropy(student(image), target).backward()
    trained = [p.grad.flatten() for p in student.parameters() if p.requires_grad]
    assert found["gradient/task_norm"] == pytest.approx(torch.cat(trained).norm().item(), rel=1e-4)


def test_every_step_or_more():
    with pytest.raises(ValueError, match="got 0"):
        HeadDiagnostics(0)
