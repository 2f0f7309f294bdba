"""Which loop a fit runs, and that it leaves what others own as it found it."""

import logging
from contextlib import nullcontext
from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loops.optimization import automatic

from potstill.errors import ConfigError
from potstill.training.fast_loop import FastLoop
from potstill.training.loop import _warn_once, use_loop
from potstill.training.module import DistillationModule

LOOPS = ("auto", "fast", "lightning")


class Counted(pl.Callback):
    """Somebody's callback: defines one of a step's hooks, and may fail in it."""

    def __init__(self, fails=False):
        self.count, self.fails = 0, fails

    def on_after_backward(self, trainer, pl_module):
        self.count += 1
        if self.fails:
            raise RuntimeError("as told")


def train(trainer, tiny, batches, loader, loop, callback):
    torch.manual_seed(0)
    sgd = partial(torch.optim.SGD, lr=0.1)
    module = DistillationModule(tiny(dropout=0.2), optimizer=sgd, image_shape=(3, 16, 16))
    fit = use_loop(trainer(max_epochs=2, callbacks=[callback]), loop)
    before = dict(vars(module))
    with pytest.raises(RuntimeError, match="as told") if callback.fails else nullcontext():
        fit.fit(module, loader(batches))
    return module, fit, before


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("loop", LOOPS)
def test_callbacks_and_module_are_left_as_they_were(tiny, batches, loader, trainer, loop, fails):
    callback = Counted(fails)
    module, fit, before = train(trainer, tiny, batches, loader, loop, callback)
    assert callback.count == (1 if fails else 2 * len(batches))
    assert set(vars(callback)) == {"count", "fails", "log", "log_dict"}  # Lightning sets these two
    callback.fails = False
    hooks = {name for name in dir(pl.Callback) if name.startswith("on_")}
    assert all(callable(getattr(callback, hook)) for hook in hooks)
    callback.on_after_backward(fit, module)
    added = {name for name in vars(module) if name not in before}
    assert not [name for name in added if hasattr(pl.LightningModule, name)]
    assert "_has_batch_hooks" not in added
    assert all(callable(getattr(module, hook)) for hook in dir(pl.LightningModule) if hook in hooks)


def test_all_three_give_the_same_bits(tiny, batches, loader, trainer):
    ends = [
        train(trainer, tiny, batches, loader, loop, Counted())[0].state_dict() for loop in LOOPS
    ]
    for state in ends[1:]:
        assert all(torch.equal(value, ends[0][name]) for name, value in state.items())


def test_auto_trains_without_the_private_names(tiny, batches, loader, trainer, monkeypatch, caplog):
    monkeypatch.delattr(automatic, "_AutomaticOptimization")
    _warn_once.cache_clear()
    with caplog.at_level(logging.WARNING, "potstill"):
        for _ in range(2):
            callback = Counted()
            _, fit, _ = train(trainer, tiny, batches, loader, "auto", callback)
            assert not isinstance(fit.fit_loop.epoch_loop, FastLoop)
            assert callback.count == 2 * len(batches)
    said = [record.getMessage() for record in caplog.records if record.name == "potstill"]
    assert len(said) == 1
    assert said[0].startswith("loop=auto: Lightning 2")
    assert "automatic._AutomaticOptimization" in said[0]
    assert said[0].endswith("; trains with Lightning's own loop")
    with pytest.raises(ConfigError, match=r"loop=fast: .*_AutomaticOptimization.*Fix: loop=auto"):
        use_loop(trainer(), "fast")
    use_loop(trainer(), "lightning")
