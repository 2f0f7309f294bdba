"""The average against a loop by hand, through stops and resumes."""

import copy
from functools import partial

import lightning.pytorch as pl
import pytest
import torch

from potstill.errors import ConfigError
from potstill.heads.kd import KD
from potstill.training.callbacks.ema_teacher import EMATeacher
from potstill.training.module import DistillationModule

DECAY = 0.75


def make(tiny, student_width=4, teacher_width=4, seed=0):
    return DistillationModule(
        tiny(student_width, seed=seed),
        tiny(teacher_width, seed=1),
        {"kd": KD()},
        alpha=0.5,
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        image_shape=(3, 16, 16),
    )


class Trace(pl.Callback):
    """Copies the student after every optimizer step, and saves a checkpoint after one of them."""

    def __init__(self, path=None, at=None):
        self.students, self.path, self.at, self.seen = [], path, at, 0

    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step > self.seen:
            self.seen = trainer.global_step
            self.students.append(copy.deepcopy(module.student.state_dict()))
        if trainer.global_step == self.at:
            trainer.save_checkpoint(self.path)


def average(start, students):
    """Return the average of parameters by the textbook's recursion, and the last buffers."""
    state = {name: value.clone() for name, value in start.items()}
    for student in students:
        for name, value in student.items():
            is_buffer = "running" in name or "tracked" in name
            state[name] = value if is_buffer else DECAY * state[name] + (1 - DECAY) * value
    return state


@pytest.mark.parametrize("accumulate", [1, 2])
def test_average_by_hand(tiny, batches, loader, trainer, accumulate):
    module, trace = make(tiny), Trace()
    start = copy.deepcopy(module.student.state_dict())
    trainer(
        max_epochs=2, callbacks=[EMATeacher(DECAY), trace], accumulate_grad_batches=accumulate
    ).fit(module, loader(batches))
    expected = average(start, trace.students)
    assert len(trace.students) == 8 // accumulate
    found = module.teacher.network.state_dict()
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7, msg=name)
    assert not torch.equal(found["conv.weight"], module.student.conv.weight)


def test_teacher_starts_as_the_student_and_gets_no_gradient(tiny, batches, loader, trainer):
    module, seen = make(tiny), []
    before = copy.deepcopy(module.student)
    module.teacher.network.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
    fit = trainer(limit_train_batches=1, callbacks=[EMATeacher(DECAY)])
    fit.fit(module, loader(batches))
    image, logits = seen[-1]
    assert torch.equal(image, batches[0][0])
    torch.testing.assert_close(logits, before.eval()(image))
    teacher = module.teacher.network
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    trained = {id(p) for group in fit.optimizers[0].param_groups for p in group["params"]}
    assert not trained & {id(p) for p in teacher.parameters()}
    assert not any(m.training for m in teacher.modules())


def test_resumed_average_has_the_same_bits(tiny, batches, loader, trainer, tmp_path):
    path = tmp_path / "last.ckpt"
    whole, resumed = make(tiny), make(tiny, seed=5)
    settings = {"max_epochs": 3}
    trainer(callbacks=[EMATeacher(DECAY), Trace(path, at=8)], **settings).fit(
        whole, loader(batches)
    )
    trainer(callbacks=[EMATeacher(DECAY)], **settings).fit(
        resumed, loader(batches), ckpt_path=path, weights_only=True
    )
    for ours, theirs in [
        (whole.student, resumed.student),
        (whole.teacher.network, resumed.teacher.network),
    ]:
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name


def test_agreement_is_with_the_teacher_of_now(tiny, batches, loader, trainer):
    module = make(tiny)
    fit = trainer(max_epochs=3, callbacks=[EMATeacher(DECAY)])
    fit.fit(module, loader(batches), loader(batches))
    module.eval()
    mine = torch.cat([module.student(image) for image, _, _ in batches]).detach()
    theirs = torch.cat([module.teacher.network(image) for image, _, _ in batches])
    p, q = theirs.double().softmax(1), mine.double().softmax(1)
    kl = (p * (p / q).log()).sum(1).mean().item()
    assert fit.callback_metrics["val/teacher_kl"].item() == pytest.approx(kl, rel=1e-4)


@pytest.mark.parametrize("build", [lambda tiny: tiny(8, seed=1), lambda _: torch.nn.Flatten()])
def test_twins_only(tiny, batches, loader, trainer, build):
    module = make(tiny)
    module.teacher.network = build(tiny)
    with pytest.raises(ConfigError, match="twin"):
        EMATeacher().on_fit_start(trainer(), module)


def test_nothing_happens_without_a_teacher(tiny, batches, loader, trainer, tmp_path):
    """As in a run's baseline, which has the same callbacks."""
    students = []
    for callbacks in ([], [EMATeacher(DECAY), Trace(tmp_path / "last.ckpt", at=2)]):
        module = DistillationModule(tiny(4), image_shape=(3, 16, 16))
        trainer(callbacks=callbacks).fit(module, loader(batches), loader(batches))
        students.append(module.student.state_dict())
    assert all(torch.equal(students[0][name], students[1][name]) for name in students[0])


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decay_is_a_fraction(decay):
    with pytest.raises(ConfigError, match=f"decay={decay}"):
        EMATeacher(decay)
