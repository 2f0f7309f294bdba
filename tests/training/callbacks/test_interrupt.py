"""A signal ends the run after the step it came in, with a checkpoint."""

import os
import signal

import lightning.pytorch as pl
import pytest

from potstill.errors import ConfigError, Interrupted
from potstill.training.callbacks.checkpoint import Checkpoint
from potstill.training.callbacks.interrupt import Interrupt
from potstill.training.checkpoints import files
from tests.support.small_fits import fit, module


def kept(folder):
    return sorted(p.name for p in (folder / "checkpoints").glob("step-*.ckpt"))


class Raise(pl.Callback):
    """Send this process a signal inside a step."""

    def __init__(self, number, batch):
        self.number, self.batch = number, batch

    def on_train_batch_start(self, trainer, pl_module, batch, index):
        if index == self.batch:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_run_after_the_step_with_a_checkpoint(tiny, trainer, tmp_path, number):
    before = signal.getsignal(number)
    callbacks = [Interrupt(), Raise(number, 1), Checkpoint()]
    with pytest.raises(Interrupted, match="interrupted at step 2, saved") as caught:
        fit(trainer, module(tiny), callbacks)
    assert caught.value.exit_code == 128 + number
    assert kept(tmp_path) == [files.name_of(2)]
    assert signal.getsignal(number) is before


def test_a_signal_between_the_batches_of_a_step_waits_for_its_end(tiny, trainer, tmp_path):
    callbacks = [Interrupt(), Raise(signal.SIGTERM, 0), Checkpoint()]
    with pytest.raises(Interrupted, match="at step 1"):
        fit(trainer, module(tiny), callbacks, accumulate_grad_batches=3)
    assert files.read(tmp_path / "checkpoints" / files.name_of(1))["epoch_sums"]["count"] == 3


def test_a_second_signal_stops_at_once(tiny, trainer, tmp_path):
    callbacks = [Interrupt(), Raise(signal.SIGTERM, 1), Raise(signal.SIGINT, 1), Checkpoint()]
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(trainer, module(tiny), callbacks)
    assert kept(tmp_path) == []


def test_an_interrupt_needs_something_that_saves(tiny, trainer):
    with pytest.raises(ConfigError, match=r"callbacks\.interrupt: nothing saves"):
        fit(trainer, module(tiny), [Interrupt()])
