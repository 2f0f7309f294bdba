"""Quantization-aware training under Lightning: what moves, until when, and what a resume gives."""

import copy
from functools import partial
from itertools import pairwise

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from potstill.data.digits import Digits
from potstill.errors import ConfigError
from potstill.heads.at import AT
from potstill.heads.fitnet import FitNet
from potstill.heads.kd import KD
from potstill.measure.counts import is_quantized
from potstill.models.tiny_cnn import tiny_cnn
from potstill.pipeline.stages.context import StageContext
from potstill.pipeline.stages.qat import QuantizationAwareTraining
from potstill.quantization.observers import activation_quantizers
from potstill.quantization.prepare import is_prepared
from potstill.training.module import DistillationModule
from potstill.training.predict import predict

STEPS = 9


def make(seed=0, heads=True):
    torch.manual_seed(0)
    teacher = tiny_cnn(5, width=6)
    torch.manual_seed(seed)
    student = tiny_cnn(5, width=4)
    student.bn2.eps, student.bn2.momentum = 1e-3, 0.03
    student.flatten = nn.Sequential(nn.Flatten(), nn.Dropout(0.2))
    given = {"kd": KD(weight=0.5), "fitnet": FitNet(weight=0.5), "at": AT(weight=1.0)}
    return DistillationModule(
        student,
        teacher if heads else None,
        given if heads else None,
        task_weight=1.0,
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        image_shape=(3, 16, 16),
    )


def is_range(name):
    return name.endswith((".lo", ".hi"))


def is_statistic(name):
    return "running_" in name


class Trace(pl.Callback):
    """Notes the student after every step, reseeds dropout by the step, and saves after each."""

    def __init__(self, folder=None):
        self.states, self.folder, self.student = {}, folder, None

    def on_train_batch_start(self, trainer, *_):
        torch.manual_seed(trainer.global_step)

    def on_train_batch_end(self, trainer, module, *_):
        self.states[trainer.global_step] = copy.deepcopy(module.student.state_dict())

    def on_train_end(self, trainer, module):
        self.student = copy.deepcopy(module.student)  # before it is finalized

    def on_train_epoch_end(self, trainer, module):
        if self.folder:
            trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


def moved(states, wanted):
    """Return the steps at which a value of those names changed."""
    steps = sorted(states)
    return [
        step
        for before, step in pairwise(steps)
        if any(
            not torch.equal(value, states[before][name])
            for name, value in states[step].items()
            if wanted(name)
        )
    ]


@pytest.mark.parametrize("heads", [True, False])
def test_statistics_and_ranges_move_until_they_freeze(heads, batches, loader, trainer):
    """Validation before, between and after epochs moves nothing and wakes nothing."""
    module, trace = make(heads=heads), Trace()
    given = copy.deepcopy(module.student)
    qat = QuantizationAwareTraining(freeze_observers=0.4, freeze_batch_norm=6 / 9)
    fit = trainer(max_epochs=3, num_sanity_val_steps=2, callbacks=[qat, trace])
    fit.fit(module, loader(batches[:3]), loader(batches))
    assert sorted(trace.states) == list(range(1, STEPS + 1))
    assert moved(trace.states, is_range) == [2, 3, 4]  # ceil(0.4 * 9) = 4 steps observe
    assert moved(trace.states, is_statistic) == [2, 3, 4, 5, 6]
    assert moved(trace.states, lambda name: name == "conv1.weight") == list(range(2, STEPS + 1))
    ends = [name for name in trace.states[1] if is_range(name)]
    assert len(ends) == 2 * len(activation_quantizers(trace.student)) >= 10
    assert all(trace.states[1][name].isfinite().all() for name in ends)
    for name in ("bn1", "bn2", "bn3"):
        ours, before = trace.student.get_submodule(name), given.get_submodule(name)
        assert (ours.eps, ours.momentum) == (before.eps, before.momentum)
        assert ours.num_batches_tracked == 6
        assert not torch.equal(ours.running_mean, before.running_mean)
    assert [m.p for m in trace.student.modules() if isinstance(m, nn.Dropout)] == [0.2]


def test_first_range_is_the_first_batch(batches, loader, trainer):
    module, trace = make(), Trace()
    callbacks = [QuantizationAwareTraining(momentum=0.25), trace]
    trainer(max_epochs=1, callbacks=callbacks).fit(module, loader(batches[:2]))
    quantizer = activation_quantizers(trace.student)[0]  # of the images
    (path,) = [path for path, one in trace.student.named_modules() if one is quantizer]
    lowest = [images.min().item() for images, *_ in batches[:2]]
    assert trace.states[1][f"{path}.lo"].item() == lowest[0]
    expected = 0.75 * lowest[0] + 0.25 * lowest[1]
    assert trace.states[2][f"{path}.lo"].item() == pytest.approx(expected, rel=1e-6)


def test_resume_has_the_same_bits_from_every_step(batches, loader, trainer, tmp_path):
    """Observers freeze before step 4 of 6, batch-norm before step 5."""
    shares = {"freeze_observers": 3 / 6, "freeze_batch_norm": 4 / 6}
    runs = {}
    for start in [None, 1, 2, 3, 4, 5]:
        module = make(seed=start or 0)
        trace = Trace(tmp_path if start is None else None)
        fit = trainer(max_epochs=6, callbacks=[QuantizationAwareTraining(**shares), trace])
        path = None if start is None else tmp_path / f"{start}.ckpt"
        fit.fit(module, loader(batches[:1]), ckpt_path=path, weights_only=True)
        optimizer = fit.optimizers[0].state_dict()["state"]
        runs[start] = trace.states, module.heads.state_dict(), optimizer
    states, heads, optimizer = runs[None]
    assert moved(states, is_range) == [2, 3]
    assert moved(states, is_statistic) == [2, 3, 4]
    for start in range(1, 6):
        found, found_heads, found_optimizer = runs[start]
        assert sorted(found) == list(range(start + 1, 7))
        for step, state in found.items():
            assert all(torch.equal(v, states[step][name]) for name, v in state.items()), step
        assert all(torch.equal(v, heads[name]) for name, v in found_heads.items())
        assert optimizer.keys() == found_optimizer.keys()
        for key, value in optimizer.items():
            other = found_optimizer[key]["momentum_buffer"]
            assert torch.equal(value["momentum_buffer"], other)


def test_feature_heads_read_the_same_layers_and_send_gradients(batches, loader, trainer):
    module, plain = make(), make()
    plain.setup("fit")
    gradients = {}

    class Note(pl.Callback):
        def on_after_backward(self, trainer, module):
            for name, p in module.named_parameters():
                gradients[name] = p.grad.clone()

    fit = trainer(limit_train_batches=1, callbacks=[QuantizationAwareTraining(), Note()])
    fit.fit(module, loader(batches))
    assert module._student_extractor.sources == plain._student_extractor.sources
    assert set(gradients) == {name for name, _ in plain.named_parameters()}
    assert all(g.isfinite().all() and g.abs().max() > 0 for g in gradients.values())
    assert not is_prepared(module.teacher.network)
    assert not any(m.training for m in module.teacher.network.modules())


def test_set_up_twice_is_once(trainer):
    module, qat = make(), QuantizationAwareTraining()
    for _ in range(2):
        fit = trainer(callbacks=[qat])
        qat.setup(fit, module, "fit")
        student = module.student
        assert [type(c).__name__ for c in fit.callbacks].count("FreezeAtSteps") == 1
    qat.setup(trainer(), module, "test")
    assert module.student is student
    assert is_prepared(student)


def test_fake_quantized_and_deployed_agree_on_digits(trainer):
    data = Digits(image_size=16, batch_size=64)
    torch.manual_seed(0)
    module = DistillationModule(
        tiny_cnn(10, width=8), optimizer=partial(torch.optim.AdamW, lr=1e-2),
        image_shape=(3, 16, 16),
    )  # fmt: skip
    trace = Trace()
    callbacks = [QuantizationAwareTraining(), trace]
    trainer(max_epochs=2, callbacks=callbacks).fit(module, datamodule=data)
    cpu = torch.device("cpu")
    fake, target = predict(trace.student, data.test_dataloader(), cpu)
    deployed, _ = predict(module.student, data.test_dataloader(), cpu)
    right = [(logits.argmax(1) == target).float().mean().item() for logits in (fake, deployed)]
    assert len(target) == 360
    assert right[0] > 0.8
    assert abs(right[0] - right[1]) <= 0.002
    noise = (fake - deployed).square().sum() / fake.square().sum()
    assert -10 * torch.log10(noise + 1e-12) >= 30


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 3}, "bits=3"),
        ({"freeze_observers": 0}, "freeze_observers=0: not in"),
        ({"freeze_batch_norm": 1.5}, "freeze_batch_norm=1.5: not in"),
    ],
)
def test_impossible_settings_are_one_line(settings, message):
    with pytest.raises(ConfigError, match=message) as error:
        QuantizationAwareTraining(**settings)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)


def test_a_rehearsal_and_what_an_artifact_says():
    qat, context = QuantizationAwareTraining(momentum=0.1), StageContext((3, 16, 16), dry_run=True)
    prepared = qat.apply(tiny_cnn(5), context)
    assert is_prepared(prepared)
    assert is_quantized(qat.finalize(prepared))
    with pytest.raises(ConfigError, match="no convolution or linear"):
        qat.apply(nn.Sequential(nn.ReLU()), context)
    assert qat.describe() == {"kind": "int8_static", "bits": 8, "momentum": 0.1}
