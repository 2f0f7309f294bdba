"""The same fit, bit for bit, as with Lightning's own loops."""

from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from torch.optim.lr_scheduler import StepLR

from potstill.heads.kd import KD
from potstill.training.fast_loop import FastLoop, FastResult, Unprofiled, install
from potstill.training.module import DistillationModule


def distil(tiny):
    return DistillationModule(
        tiny(dropout=0.2),
        tiny(seed=1),
        {"kd": KD()},
        alpha=0.5,
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        scheduler=lambda optimizer, total, per_epoch: StepLR(optimizer, 1, 0.9),
        image_shape=(3, 16, 16),
    )


@pytest.mark.parametrize("accumulated", [1, 3])
def test_weights_and_losses_are_those_of_lightnings_loops(
    tiny, batches, loader, trainer, accumulated
):
    ends = []
    for change in (lambda trainer: trainer, install):
        torch.manual_seed(0)
        module = distil(tiny)
        fit = change(trainer(max_epochs=2, accumulate_grad_batches=accumulated))
        fit.fit(module, loader(batches))
        ends.append((module.state_dict(), dict(fit.callback_metrics), fit.global_step))
    (weights, metrics, steps), (fast_weights, fast_metrics, fast_steps) = ends
    assert steps == fast_steps
    assert metrics == fast_metrics
    assert all(torch.equal(weights[name], fast_weights[name]) for name in weights)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_validation_runs_in_the_epochs_it_was_asked_for(tiny, batches, loader, trainer, every):
    class Seen(pl.Callback):
        """The epochs validated in, and what was said of each as it began."""

        def __init__(self):
            self.validated, self.said = [], []

        def on_train_epoch_start(self, trainer, _):
            self.said.append(trainer.fit_loop.epoch_loop._should_check_val_epoch())

        def on_validation_end(self, trainer, _):
            self.validated.append(trainer.current_epoch)

    ends = []
    for change in (lambda trainer: trainer, install):
        seen = Seen()
        fit = change(trainer(max_epochs=4, check_val_every_n_epoch=every, callbacks=[seen]))
        fit.fit(distil(tiny), loader(batches), loader(batches))
        ends.append((seen.validated, seen.said))
    assert ends[0] == ends[1]
    assert ends[0][0] == [epoch for epoch in range(4) if (epoch + 1) % every == 0]


def test_a_step_that_takes_no_number_is_given_none(tiny, batches, loader, trainer):
    class Plain(pl.LightningModule):
        """Takes a batch alone."""

        def __init__(self):
            super().__init__()
            self.network, self.losses = tiny(), []

        def training_step(self, batch):
            image, target, _ = batch
            self.losses.append(torch.nn.functional.cross_entropy(self.network(image), target))
            return {"loss": self.losses[-1], "more": 1}

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    module, fit = Plain(), install(trainer())
    fit.fit(module, loader(batches))
    assert isinstance(fit.fit_loop.epoch_loop, FastLoop)
    assert len(module.losses) == len(batches)


def test_a_loss_is_divided_only_by_several_batches():
    loss = torch.tensor(3.0, requires_grad=True)
    assert FastResult.from_training_step_output(loss).closure_loss is loss
    assert FastResult.from_training_step_output(loss, 2).closure_loss.item() == 1.5
    assert FastResult.from_training_step_output({"loss": loss, "a": 1}).extra == {"a": 1}


def test_unprofiled_measures_nothing():
    profiler = Unprofiled()
    with profiler.profile("a"), profiler.profile("b"):
        pass
    assert profiler.summary() == ""
