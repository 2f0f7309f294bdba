"""A fit among callbacks that flatten weights by view, which one memory layout does not allow."""

from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelPruning
from torch import nn
from torch.optim import LBFGS, SGD

from potstill.errors import ConfigError
from potstill.pipeline.experiment import Experiment
from potstill.pipeline.fit import fit
from potstill.pipeline.rehearsal import rehearse
from potstill.training.precision import flattens
from tests.support.small_runs import started

ALONE = ("~experiment", "model@module.student=tiny_cnn", "head@module.heads=[]")
PRUNING = (
    "+callbacks.mp={_target_: lightning.pytorch.callbacks.ModelPruning, amount: 0.5,"
    " pruning_fn: l1_unstructured, use_lottery_ticket_hypothesis: false}"
)


def experiment(folder, *overrides):
    run = folder / "run"
    run.mkdir()
    return Experiment(started(run, *ALONE, *overrides))


def test_half_of_the_weights_are_pruned_by_lightning(tmp_path):
    made = experiment(tmp_path, PRUNING)
    rehearse(made)
    made.train("student", None)
    weights = [p for p in made.fitted["student"].network.parameters() if p.dim() > 1]
    zeros = torch.cat([weight.flatten() for weight in weights]) == 0
    assert zeros.float().mean() == pytest.approx(0.5, abs=0.01)


def test_a_layout_that_cannot_be_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ConfigError, match=r"^channels_last=true: .* Fix: channels_last=auto$"):
        rehearse(experiment(tmp_path, PRUNING, "channels_last=true"))


class Flattens(pl.Callback):
    def on_train_batch_end(self, trainer, pl_module, *_):
        nn.utils.parameters_to_vector(pl_module.parameters())


def test_what_nobody_knows_to_flatten_is_named_by_the_setting(tmp_path):
    made = experiment(tmp_path)
    module = made.module(made.network("student"))
    with pytest.raises(ConfigError, match=r"^channels_last=auto: .* Fix: channels_last=false$"):
        fit(made.run, made.run.folder / "student", module, callbacks=[Flattens()])


def test_callbacks_and_optimizers_that_flatten():
    pruning = ModelPruning("l1_unstructured", amount=0.5)
    assert flattens([pruning], partial(SGD, lr=1))
    assert flattens([], partial(LBFGS, lr=1))
    assert not flattens([pl.Callback()], partial(SGD, lr=1))
