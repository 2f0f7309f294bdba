"""The module's loss, optimizer and teacher, against a loop written by hand."""

import copy
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers.logger import DummyLogger

from potstill.errors import ConfigError, NonFiniteError
from potstill.heads.base import Head
from potstill.heads.fitnet import FitNet
from potstill.heads.kd import KD
from potstill.teacher.frozen import sha256_of
from potstill.training import schedules
from potstill.training.loggers.csv import MetricsFile
from potstill.training.module import DistillationModule

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def module(student, teacher=None, heads=None, **settings):
    settings = {"optimizer": SGD, "image_shape": (3, 16, 16)} | settings
    return DistillationModule(student, teacher, heads, **settings)


def test_training_equals_a_loop_by_hand(tiny, batches, loader, trainer):
    student, teacher = tiny(4), tiny(8, seed=1).eval()
    by_hand, alpha, temperature = copy.deepcopy(student), 0.3, 3.0
    optimizer = SGD(by_hand.parameters())
    schedule = schedules.cosine(optimizer, 8, 4, warmup_epochs=0)
    for image, target, _ in batches * 2:
        with torch.no_grad():
            soft = (teacher(image) / temperature).softmax(1)
        logits = by_hand(image)
        log_p = (logits / temperature).log_softmax(1)
        divergence = (soft * (soft.log() - log_p)).sum() / len(image)
        task = F.cross_entropy(logits, target, label_smoothing=0.1)
        loss = (1 - alpha) * task + alpha * temperature**2 * divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    ours = module(
        student,
        teacher,
        {"kd": KD(temperature)},
        alpha=alpha,
        label_smoothing=0.1,
        scheduler=schedules.cosine,
    )
    trainer(max_epochs=2).fit(ours, loader(batches))
    for (name, mine), expected in zip(
        ours.student.state_dict().items(), by_hand.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(mine, expected, msg=name, rtol=1e-4, atol=1e-6)


def test_teacher_is_frozen_whatever_anyone_calls(tiny, batches, loader, trainer):
    teacher = tiny(8, dropout=0.5, seed=1).train()
    ours = module(tiny(4), teacher, {"kd": KD()}, alpha=0.5)
    before = sha256_of(teacher)
    ours.train()
    ours.teacher.network.train()
    ours.teacher.network.bn.train()
    fit = trainer(max_epochs=2)
    fit.fit(ours, loader(batches))
    assert not any(m.training for m in teacher.modules())
    assert sha256_of(teacher) == before
    assert not any(p.requires_grad for p in teacher.parameters())
    theirs = {id(p) for p in teacher.parameters()}
    assert not theirs & {id(p) for p in ours.parameters()}
    trained = {id(p) for group in fit.optimizers[0].param_groups for p in group["params"]}
    assert not theirs & trained
    assert not [key for key in ours.state_dict() if "teacher" in key]


def test_adapters_are_trained_clipped_and_saved_but_not_exported(tiny, batches, loader, trainer):
    heads = {"fitnet": FitNet(student="relu", teacher="relu")}
    ours = module(tiny(4), tiny(8, seed=1), heads, task_weight=1.0)
    fit = trainer(max_epochs=1, gradient_clip_val=1e-12, gradient_clip_algorithm="norm")
    ours.setup("fit")
    before = copy.deepcopy(ours.heads["fitnet"].state_dict())
    fit.fit(ours, loader(batches))
    adapters = dict(ours.heads["fitnet"].named_parameters())
    assert adapters
    trained = {id(p) for group in fit.optimizers[0].param_groups for p in group["params"]}
    for name, parameter in adapters.items():
        assert id(parameter) in trained
        # Clipped to nothing: an adapter left out of the clipping would have moved.
        torch.testing.assert_close(parameter.detach(), before[name], rtol=0, atol=1e-9)
    assert any(key.startswith("heads.fitnet.") for key in ours.state_dict())
    assert ours.export_student().state_dict().keys() == tiny(4).state_dict().keys()


def test_pure_training_needs_no_teacher(tiny, batches, loader, trainer):
    ours = module(tiny(4))
    fit = trainer()
    fit.fit(ours, loader(batches), loader(batches))
    ours.eval()
    logits = torch.cat([ours(image) for image, _, _ in batches]).detach()
    target = torch.cat([target for _, target, _ in batches])
    right = (logits.argmax(1) == target).float().mean().item()
    assert fit.callback_metrics["val/accuracy"].item() == pytest.approx(right)
    loss = F.cross_entropy(logits, target).item()
    assert fit.callback_metrics["val/loss"].item() == pytest.approx(loss, rel=1e-5)


def test_agreement_and_divergence_on_validation(tiny, batches, loader, trainer):
    teacher = tiny(8, seed=1)
    ours = module(tiny(4), teacher, {"kd": KD()}, alpha=0.5)
    fit = trainer()
    fit.fit(ours, loader(batches), loader(batches))
    ours.eval()
    mine = torch.cat([ours(image) for image, _, _ in batches]).detach()
    theirs = torch.cat([teacher(image) for image, _, _ in batches])
    same = (mine.argmax(1) == theirs.argmax(1)).float().mean().item()
    assert fit.callback_metrics["val/agreement"].item() == pytest.approx(same)
    p, q = theirs.double().softmax(1), mine.double().softmax(1)
    kl = (p * (p / q).log()).sum(1).mean().item()
    assert fit.callback_metrics["val/teacher_kl"].item() == pytest.approx(kl, rel=1e-4)


def test_recorded_terms_are_the_epoch_means(tiny, batches, loader, trainer):
    heads = {"kd": KD(temperature=2.0)}
    ours = module(
        tiny(4), tiny(8, seed=1), heads, alpha=0.25, optimizer=partial(torch.optim.SGD, lr=0.0)
    )
    fit = trainer()
    fit.fit(ours, loader(batches))
    found = {k: v.item() for k, v in fit.callback_metrics.items()}
    total = 0.75 * found["train/task"] + 0.25 * found["train/kd"]
    assert found["train/loss"] == pytest.approx(total, rel=1e-5)
    assert found["train/kd_weighted"] == pytest.approx(0.25 * found["train/kd"], rel=1e-5)
    task = torch.stack([F.cross_entropy(ours.student(i), t) for i, t, _ in batches]).mean()
    assert found["train/task"] == pytest.approx(task.item(), rel=1e-4)


def test_a_head_of_no_weight_costs_no_teacher(tiny, batches, loader, trainer):
    teacher, calls = tiny(8, seed=1), []
    teacher.register_forward_hook(lambda *_: calls.append(1))
    ours = module(tiny(4), teacher, {"kd": KD()}, alpha=0.0)
    trainer().fit(ours, loader(batches))
    assert len(calls) == 1  # the probe


def test_mixed_targets_are_probabilities(tiny, batches, loader, trainer):
    soft = [(i, F.one_hot(t, 5).float(), s) for i, t, s in batches]
    hard, mixed = module(tiny(4)), module(tiny(4))
    trainer().fit(hard, loader(batches))
    trainer().fit(mixed, loader(soft))
    for mine, expected in zip(mixed.parameters(), hard.parameters(), strict=True):
        torch.testing.assert_close(mine, expected)


def test_two_views_reach_the_heads(tiny, batches, loader, trainer):
    seen = []

    class Spy(Head):
        num_views = 2

        def forward(self, student, teacher, target):
            seen.append((student.views[0].logits, teacher.views[0].logits, student.sample_id))
            return student.logits.sum() * 0

    teacher = tiny(8, seed=1)
    ours = module(tiny(4), teacher, {"spy": Spy()}, alpha=0.5)
    pairs = [((image, image.flip(3)), target, ids) for image, target, ids in batches]
    trainer(limit_train_batches=1).fit(ours, loader(pairs))
    torch.testing.assert_close(seen[0][1], teacher(batches[0][0].flip(3)))
    assert seen[0][2].tolist() == list(range(8))


def test_class_counts_must_match(tiny):
    ours = module(tiny(4, num_classes=5), tiny(8, num_classes=6), {"kd": KD()}, alpha=0.5)
    with pytest.raises(ConfigError, match="num_classes=6: the student has 5"):
        ours.setup("fit")


def test_heads_and_teacher_go_together(tiny):
    with pytest.raises(ConfigError, match="go together"):
        module(tiny(4), None, {"kd": KD()})


def test_a_loss_that_is_not_finite_stops_before_the_step(tiny, batches, loader, trainer):
    batches[2][0][0, 0, 0, 0] = math.nan
    student = tiny(4)
    with pytest.raises(NonFiniteError, match=r"step=2.*task"):
        trainer().fit(module(student), loader(batches))
    assert all(p.isfinite().all() for p in student.parameters())


class Dashboard(DummyLogger):
    """Keeps what it is told."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def log_metrics(self, metrics, step):
        found = {n: v for n, v in metrics.items() if n.endswith("_step")}
        self.steps += [(step, found)] if found else []


def test_every_nth_step_goes_to_dashboards_and_the_file_keeps_epochs(
    tiny, batches, loader, trainer, tmp_path
):
    dashboard, file = Dashboard(), MetricsFile(tmp_path, name="", version="")
    ours = module(tiny(4), tiny(8), {"kd": KD()}, alpha=0.5)
    trainer(max_epochs=2, logger=[dashboard, file], log_every_n_steps=3).fit(ours, loader(batches))
    assert [step for step, _ in dashboard.steps] == [0, 3, 4, 7]
    named = ("loss", "accuracy", "task", "kd", "task_weighted", "kd_weighted")
    assert all(set(v) == {f"train/{n}_step" for n in named} for _, v in dashboard.steps)
    last = dashboard.steps[-1][1]
    terms = last["train/task_weighted_step"] + last["train/kd_weighted_step"]
    assert last["train/loss_step"] == pytest.approx(terms)
    written = (tmp_path / "metrics.csv").read_text()
    assert "_step" not in written
    assert "train/loss" in written


def test_the_teacher_runs_before_the_student_takes_its_memory(tiny, batches, loader, trainer):
    order, student, teacher = [], tiny(4), tiny(8)
    ours = module(student, teacher, {"kd": KD()}, alpha=0.5)
    student.register_forward_hook(lambda *_: order.append("student"))
    ours.teacher.network.register_forward_hook(lambda *_: order.append("teacher"))
    fit = trainer(limit_train_batches=2)
    fit.fit(ours, loader(batches))
    assert order[-4:] == ["teacher", "student"] * 2


@pytest.mark.parametrize("place", ["student", "teacher"])
def test_outputs_of_another_shape_are_refused(tiny, place):
    class Flat(torch.nn.Module):
        def forward(self, image):
            return image.mean((1, 2, 3))

    networks = {"student": tiny(4), "teacher": tiny(4), place: Flat()}
    module = DistillationModule(**networks, heads={"kd": KD()}, image_shape=(3, 16, 16))
    with pytest.raises(ConfigError, match=rf"module\.{place}: returns \(2,\) for 2 images"):
        module.prepare()
