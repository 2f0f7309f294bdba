"""The average against the recursion by hand, with and without masks, and beside the student."""

import copy
from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from potstill.errors import ConfigError
from potstill.heads.kd import KD
from potstill.heads.simkd import SimKD
from potstill.pipeline.stages.prune_weights import PruneWeights
from potstill.pruning.weights.masks import remove_masks
from potstill.training.callbacks.ema import EMA, decay_at
from potstill.training.module import DistillationModule

DECAY = 0.75


def make(tiny, heads=None, seed=0):
    return DistillationModule(
        tiny(4, seed=seed),
        tiny(8, seed=1) if heads else None,
        heads,
        alpha=0.5 if heads else None,
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        image_shape=(3, 16, 16),
    )


class Trace(pl.Callback):
    """Copies the deployed student after every optimizer step."""

    def __init__(self):
        self.states = []

    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step > len(self.states):
            self.states.append(copy.deepcopy(module.export_student().state_dict()))


def average(states, warmup=False):
    """Return the textbook's recursion from the first step's state on; masks hold at every step."""
    found = {name: value.clone() for name, value in states[0].items()}
    for count, state in enumerate(states[1:], 1):
        decay = min(DECAY, (1 + count) / (10 + count)) if warmup else DECAY
        for name, value in state.items():
            is_buffer = "running" in name or "tracked" in name or "mask" in name
            found[name] = value if is_buffer else decay * found[name] + (1 - decay) * value
        for name in [name for name in state if name.endswith("_mask")]:
            found[name.removesuffix("_mask")] = found[name.removesuffix("_mask")] * state[name]
    return found


def check(ema, module, expected, own=None):
    own = own or copy.deepcopy(module.export_student().state_dict())
    found = ema.average(module).state_dict()
    assert found.keys() == expected.keys() == own.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7, msg=name)
    assert any(not torch.equal(value, own[name]) for name, value in found.items())


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("warmup", [False, True])
def test_average_by_hand(tiny, batches, loader, trainer, accumulate, warmup):
    module, trace, ema = make(tiny), Trace(), EMA(DECAY, warmup)
    settings = {"max_epochs": 2, "accumulate_grad_batches": accumulate}
    trainer(callbacks=[trace, ema], **settings).fit(module, loader(batches))
    assert len(trace.states) == 8 // accumulate
    check(ema, module, average(trace.states, warmup))


@pytest.mark.parametrize("order", [1, -1])
def test_masks_hold_in_the_average(tiny, batches, loader, trainer, order):
    """Whichever callback comes first; weights pruned late have a past that must not show."""
    module, trace, ema = make(tiny), Trace(), EMA(DECAY, warmup=False)
    callbacks = [ema, PruneWeights(0.5, start=0.5, end=0.5)][::order]
    trainer(max_epochs=2, callbacks=[*callbacks, trace]).fit(module, loader(batches))
    expected = average(trace.states)
    assert int((expected["conv.weight"] == 0).sum()) == 54
    check(ema, module, expected, trace.states[-1])
    assert int((module.student.conv.weight == 0).sum()) == 54
    finalized = remove_masks(ema.average(module)).state_dict()
    assert finalized.keys() == module.student.state_dict().keys()


def test_teacher_is_not_in_it(tiny, batches, loader, trainer):
    module, ema = make(tiny, {"kd": KD()}), EMA(DECAY)
    trainer(callbacks=[ema]).fit(module, loader(batches))
    saved = ema.state_dict()["averaged"]
    assert {name.removeprefix("module.") for name in saved} - {"n_averaged"} == set(
        module.student.state_dict()
    )
    assert saved["n_averaged"] == 4
    assert not any(value.requires_grad for value in saved.values())


def test_layers_a_head_deploys_are_averaged_with_the_student(tiny, batches, loader, trainer):
    module, trace, ema = make(tiny, {"simkd": SimKD()}), Trace(), EMA(DECAY, warmup=False)
    trainer(callbacks=[ema, trace]).fit(module, loader(batches))
    assert any(name.startswith("projector") for name in trace.states[0])
    check(ema, module, average(trace.states))


def test_both_accuracies_are_those_of_the_networks(tiny, batches, loader, trainer, tmp_path):
    module, ema, seen = make(tiny), EMA(0.98, warmup=False), []

    class Note(pl.Callback):
        def on_validation_end(self, trainer, module):
            seen.append({k: v.item() for k, v in trainer.callback_metrics.items()})

    csv = CSVLogger(tmp_path, version="")
    fit = trainer(max_epochs=3, callbacks=[ema, Note()], logger=csv)
    fit.fit(module, loader(batches), loader(batches))

    def accuracy(network):
        network.eval()
        right = [network(image).argmax(1) == target for image, target, _ in batches]
        return torch.cat(right).float().mean().item()

    own = accuracy(copy.deepcopy(module.student))
    averaged = accuracy(ema.average(module))
    assert own != averaged  # or the lines below say nothing
    assert fit.callback_metrics["val/accuracy"].item() == pytest.approx(own)
    assert fit.callback_metrics["val/ema_accuracy"].item() == pytest.approx(averaged)
    assert len(seen) == 3
    assert "val/ema_accuracy" in (tmp_path / "lightning_logs" / "metrics.csv").read_text()


def test_the_student_trains_as_without_it(tiny, batches, loader, trainer):
    states = []
    for callbacks in ([], [EMA(DECAY)]):
        module = make(tiny)
        trainer(max_epochs=2, callbacks=callbacks).fit(module, loader(batches), loader(batches))
        states.append(module.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize(
    ("count", "decay"), [(0, 0.1), (1, 2 / 11), (8, 0.5), (98, 99 / 108), (10**6, 0.999)]
)
def test_warm_up_by_hand(count, decay):
    assert decay_at(count, 0.999, True) == pytest.approx(decay)
    assert decay_at(count, 0.999, False) == 0.999


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decay_is_a_fraction(decay):
    with pytest.raises(ConfigError, match=f"decay={decay}"):
        EMA(decay)
