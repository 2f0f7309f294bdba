"""Dropout draws by counts: a resumed run draws what the other would have drawn."""

import lightning.pytorch as pl
import torch

from potstill.data.transforms.counted_rng import key
from potstill.training.callbacks.checkpoint import Checkpoint
from potstill.training.callbacks.reseed import Reseed
from tests.support.small_fits import fit, module

STEPS = 4


class Draw(pl.Callback):
    """What dropout would draw in each batch; and noise drawn in between, as a worker might."""

    def __init__(self, between):
        self.between, self.drawn = between, []

    def on_before_zero_grad(self, *_):
        torch.rand(self.between)

    def on_train_batch_start(self, trainer, pl_module, batch, index):
        state = torch.get_rng_state()
        self.drawn.append((trainer.global_step, index, torch.rand(3)))
        torch.set_rng_state(state)


def test_dropout_draws_by_counts_not_by_what_was_drawn_before(tiny, trainer):
    weights, drawn = [], []
    for between in (0, 5):
        trained, draw = module(tiny), Draw(between)
        callbacks = [Reseed(seed=3), draw, Checkpoint()]
        fit(trainer, trained, callbacks, max_epochs=2, accumulate_grad_batches=2)
        weights.append(trained.student.fc.weight.detach())
        drawn.append(draw.drawn)
    assert torch.equal(*weights)
    for step, index, found in drawn[0]:
        torch.manual_seed(key(3, step, index, 0))
        assert torch.equal(found, torch.rand(3))
    assert len({tuple(found.tolist()) for _, _, found in drawn[0]}) == 2 * STEPS
