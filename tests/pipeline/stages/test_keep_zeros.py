"""Zeros of an earlier pruning through another fit, and what happens without."""

import copy
from functools import partial

import pytest
import torch

from potstill.errors import ConfigError
from potstill.pipeline.stages.context import StageContext
from potstill.pipeline.stages.keep_zeros import KeepZeros
from potstill.pruning.weights.masks import add_masks, remove_masks
from potstill.training.module import DistillationModule
from tests.support.masked_nets import update_masks, zeros_by_weight


@pytest.fixture
def pruned(tiny):
    net = tiny()
    add_masks(net)
    update_masks(net, 0.5)
    return remove_masks(net)


@pytest.fixture
def fit(batches, loader, trainer):
    def run(network, callbacks):
        adam = partial(torch.optim.AdamW, lr=0.05)
        module = DistillationModule(copy.deepcopy(network), optimizer=adam, image_shape=(3, 16, 16))
        trainer(callbacks=callbacks).fit(module, loader(batches))
        return module.student  # finalized: without masks

    return run


def test_zeros_stay_and_the_rest_trains(fit, pruned):
    network = fit(pruned, [KeepZeros()])
    assert network.state_dict().keys() == pruned.state_dict().keys()
    for name in ("conv", "fc"):
        before, after = getattr(pruned, name).weight, getattr(network, name).weight
        assert torch.equal(before == 0, after == 0)
        assert (before != after)[before != 0].all()
    assert sum(zeros_by_weight(fit(pruned, [])).values()) == 0


def test_only_where_asked(fit, pruned):
    found = zeros_by_weight(fit(pruned, [KeepZeros(untouchable=["fc"])]))
    assert list(found.values()) == [54, 0]


def test_nothing_to_keep(fit, tiny, pruned):
    with pytest.raises(ConfigError, match="no weight is zero"):
        fit(tiny(), [KeepZeros()])
    pruned.fc.weight.data.zero_()
    with pytest.raises(ConfigError, match=r"fc\.weight is all zeros"):
        fit(pruned, [KeepZeros()])


def test_a_rehearsal_has_no_zeros_to_keep(tiny):
    context = StageContext((3, 16, 16), dry_run=True)
    stage = KeepZeros()
    network = stage.finalize(stage.apply(tiny(), context))
    assert network.state_dict().keys() == tiny().state_dict().keys()
    with pytest.raises(ConfigError, match="untouchable=fx: no such layer"):
        KeepZeros(untouchable=["fx"]).apply(tiny(), context)
