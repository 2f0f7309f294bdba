"""What stands still after freezing, through train(), checkpoints and copies."""

import copy

import pytest
import torch
from torch import nn

from potstill.errors import ConfigError
from potstill.quantization.freeze import freeze_batch_norm, freeze_observers
from potstill.quantization.observers import activation_quantizers
from potstill.quantization.prepare import prepare

RANGES, STATISTICS = (".lo", ".hi", ".seen"), ("running_mean", "running_var", "tracked")


def moved(network, endings):
    """Return which of the buffers a batch in training mode has changed."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    network(5 * torch.randn(4, 3, 8, 8))
    after = network.state_dict()
    return {n for n in before if n.endswith(endings) and not torch.equal(before[n], after[n])}


@pytest.fixture
def prepared(tiny):
    torch.manual_seed(0)
    network = prepare(tiny()).train()
    network(torch.randn(4, 3, 8, 8))
    return network


def test_both_move_until_they_are_frozen(prepared):
    assert len(activation_quantizers(prepared)) == 4  # image, ReLU, mean, logits
    assert {name.rpartition(".")[2] for name in moved(prepared, RANGES)} == {"lo", "hi"}
    assert len(moved(prepared, STATISTICS)) == 3


@pytest.mark.parametrize("carry", [lambda n, p: n, lambda n, p: copy.deepcopy(n), None])
def test_nothing_moves_afterwards(prepared, tiny, carry):
    freeze_observers(prepared)
    assert not moved(prepared, RANGES)
    assert moved(prepared, STATISTICS)
    freeze_batch_norm(prepared)
    if carry is None:  # a checkpoint
        network = prepare(tiny(seed=1))
        network.load_state_dict(prepared.state_dict())
    else:
        network = carry(prepared, None)
    assert not moved(network, RANGES + STATISTICS)


def test_lightnings_way_of_restoring_modes_changes_nothing(prepared):
    freeze_batch_norm(prepared)
    for module in prepared.modules():
        module.training = True  # set without train(), as after a sanity check
    assert not moved(prepared, STATISTICS)


def test_synchronised_batch_norm_is_refused(prepared):
    synchronised = nn.SyncBatchNorm.convert_sync_batchnorm(prepared)
    with pytest.raises(ConfigError, match=r"sync_batchnorm=true.*Fix: "):
        freeze_batch_norm(synchronised)
