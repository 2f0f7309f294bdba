"""Optimizer steps as a plain loop makes them: counted beforehand, and of whole batches' means."""

import copy
import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import (
    Callback,
    GradientAccumulationScheduler,
    StochasticWeightAveraging,
)
from torch.optim import SGD

from potstill.errors import ConfigError
from potstill.training.loop import use_loop
from potstill.training.module import DistillationModule
from potstill.training.schedules import cosine
from potstill.training.steps import count_steps, plan_steps

SHAPE = (3, 16, 16)


def by_hand(network, groups, lr=0.5):
    """Train with the mean loss of each group of batches; return the parameters."""
    network = copy.deepcopy(network).train()
    optimizer = SGD(network.parameters(), lr=lr)
    for group in groups:
        optimizer.zero_grad()
        torch.stack([F.cross_entropy(network(x), y) for x, y, _ in group]).mean().backward()
        optimizer.step()
    return torch.nn.utils.parameters_to_vector(network.parameters())


def module_of(network, **options):
    optimizer = partial(SGD, lr=0.5)
    return DistillationModule(
        copy.deepcopy(network), optimizer=optimizer, image_shape=SHAPE, **options
    )


def grouped(batches, *sizes):
    rest = iter(batches)
    return [[next(rest) for _ in range(size)] for size in sizes]


# batches of a step, batches of an epoch -> the groups of an epoch
GROUPS = {
    (2, 4): (2, 2),
    (3, 4): (3, 1),
    (4, 3): (3,),
    (8, 4): (4,),
    (2, 1): (1,),
    (1, 4): (1,) * 4,
}


@pytest.mark.parametrize("loop", ["fast", "lightning"])
@pytest.mark.parametrize("case", GROUPS)
def test_every_step_takes_the_mean_of_the_batches_it_has(
    tiny, batches, loader, trainer, case, loop
):
    accumulate, used = case
    module = module_of(tiny())
    one = trainer(max_epochs=2, accumulate_grad_batches=accumulate, limit_train_batches=used)
    use_loop(one, loop).fit(module, loader(batches))
    wanted = by_hand(tiny(), grouped(batches, *GROUPS[case]) * 2)
    found = torch.nn.utils.parameters_to_vector(module.student.parameters())
    assert torch.allclose(found, wanted, atol=1e-6)
    assert one.global_step == 2 * len(GROUPS[case])


def test_a_run_without_a_shorter_step_has_the_bits_it_had(tiny, batches, loader, trainer):
    module, plain = module_of(tiny()), module_of(tiny())
    plain.training_step = lambda batch, batch_idx: plain.one_pass(batch)
    for one in (module, plain):
        trainer(accumulate_grad_batches=2).fit(one, loader(batches))
    for ours, theirs in zip(module.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


class Rates(Callback):
    def __init__(self):
        self.seen, self.sizes = [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append(optimizer.param_groups[0]["lr"])
        self.sizes.append(trainer.accumulate_grad_batches)


FITS = {
    "plain": ({"max_epochs": 3}, (12, 4)),
    "accumulated": ({"max_epochs": 3, "accumulate_grad_batches": 3}, (6, 2)),
    "limited": ({"max_epochs": 3, "limit_train_batches": 0.5}, (6, 2)),
    "cut in an epoch": ({"max_epochs": 3, "max_steps": 7}, (7, 4)),
    "steps alone": ({"max_epochs": -1, "max_steps": 9}, (9, 4)),
    "scheduled": ({"max_epochs": 3, "scheduling": {0: 4, 2: 1}}, (6, 2)),
    "scheduled and cut": ({"max_epochs": 4, "max_steps": 5, "scheduling": {1: 3}}, (5, 2)),
}


@pytest.mark.parametrize("case", FITS)
def test_schedules_are_laid_over_the_steps_that_are_made(tiny, batches, loader, trainer, case):
    settings, (total, per_epoch) = FITS[case]
    callbacks, planned = [rates := Rates()], []
    if scheduling := settings.get("scheduling"):
        callbacks.append(GradientAccumulationScheduler(dict(scheduling)))
    settings = {key: value for key, value in settings.items() if key != "scheduling"}

    def schedule(optimizer, steps, steps_of_an_epoch):
        planned.extend((steps, steps_of_an_epoch))
        return cosine(optimizer, steps, steps_of_an_epoch)

    one = trainer(**settings, callbacks=callbacks)
    one.fit(module_of(tiny(), scheduler=schedule), loader(batches))
    assert planned == [total, per_epoch]
    assert one.global_step == total
    wanted = [0.25 * (1 + math.cos(math.pi * step / total)) for step in range(total)]
    assert rates.seen == pytest.approx(wanted)


class SavedAt(Callback):
    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")
def test_a_fit_that_goes_on_within_an_epoch_accumulates_as_that_epoch_does(
    tiny, batches, loader, trainer, tmp_path
):
    def callbacks(extra):
        return [extra, GradientAccumulationScheduler({0: 1, 1: 2})]

    saved, rates = SavedAt(tmp_path / "a.ckpt", step=5), Rates()  # one of two in the second epoch
    trainer(max_epochs=2, callbacks=callbacks(saved)).fit(module_of(tiny()), loader(batches))
    trainer(max_epochs=2, callbacks=callbacks(rates)).fit(
        module_of(tiny()), loader(batches), ckpt_path=saved.path, weights_only=False
    )
    assert rates.sizes == [2]


def test_weight_averaging_of_lightning_is_refused_with_what_to_use(tiny, batches, loader, trainer):
    one = trainer(callbacks=[StochasticWeightAveraging(swa_lrs=0.1)])
    with pytest.raises(ConfigError, match=r"^callbacks=Stoch.* Fix: callbacks=ema select=ema$"):
        one.fit(module_of(tiny()), loader(batches))


def test_a_fit_by_the_clock_has_no_schedule(tiny, batches, loader, trainer):
    one = trainer(max_time={"hours": 1})
    with pytest.raises(ConfigError, match=r"^trainer.max_time: .*Fix: trainer.max_steps or"):
        one.fit(module_of(tiny(), scheduler=cosine), loader(batches))
    one.fit(module_of(tiny()), loader(batches))  # nothing has to know


class Endless(SimpleNamespace):
    callbacks, max_epochs, max_steps, accumulate_grad_batches = (), 2, 10, 1
    train_dataloader, num_training_batches = (), math.inf


def test_data_without_an_end_needs_a_number_of_steps():
    assert plan_steps(Endless()) == (10, 10)
    with pytest.raises(ConfigError, match=r"Fix: trainer.max_steps=N"):
        count_steps(Endless(max_steps=-1))
