"""Cheaper steps, the same steps: what Lightning would have done is still done."""

from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from potstill.training.fast_module import FastModule, is_on
from potstill.training.loop import use_loop
from potstill.training.module import DistillationModule


class Spy(DistillationModule):
    """Keeps what its steps are given."""

    def training_step(self, batch, batch_idx):
        self.given.append(batch)
        return super().training_step(batch, batch_idx)


def spy(tiny):
    module = Spy(tiny(), optimizer=partial(torch.optim.SGD, lr=0.1), image_shape=(3, 16, 16))
    module.given = []
    return module


class Data(pl.LightningDataModule):
    """Batches from a list."""

    def __init__(self, loader):
        super().__init__()
        self.loader = loader

    def train_dataloader(self):
        return self.loader


class Doubled(Data):
    """The same, changed after they came to the device."""

    def on_after_batch_transfer(self, batch, dataloader_idx):
        image, *rest = batch
        return (2 * image, *rest)


@pytest.mark.parametrize("loop", ["fast", "lightning"])
def test_a_batch_is_passed_on_as_it_is(tiny, batches, loader, trainer, loop):
    module = spy(tiny)
    use_loop(trainer(), loop).fit(module, datamodule=Data(loader(batches)))
    assert all(
        mine is theirs
        for mine, (theirs, *_) in zip((image for image, *_ in module.given), batches, strict=True)
    )


@pytest.mark.parametrize("loop", ["fast", "lightning"])
def test_hooks_around_the_transfer_are_called(tiny, batches, loader, trainer, loop):
    module = spy(tiny)
    use_loop(trainer(), loop).fit(module, datamodule=Doubled(loader(batches)))
    for (mine, *_), (theirs, *_) in zip(module.given, batches, strict=True):
        assert torch.equal(mine, 2 * theirs)


def test_a_batch_elsewhere_or_of_other_things_is_moved():
    here = torch.zeros(2)
    assert is_on((here, here), here.device)
    assert not is_on((here, here), torch.device("meta"))
    assert not is_on(((here, here), here), here.device)
    assert not is_on({"image": here}, here.device)


def test_parameters_and_modules_are_still_found():
    class Net(FastModule):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2))
            self.inner = nn.Linear(2, 2)
            self._current_fx_name, self.terms = "here", {"loss": 1}

    net = Net()
    assert [name for name, _ in net.named_parameters()] == ["weight", "inner.weight", "inner.bias"]
    assert (net._current_fx_name, net.terms) == ("here", {"loss": 1})


@pytest.mark.parametrize("value", [None, 1e-3])
def test_gradients_are_clipped_as_the_trainer_says(tiny, batches, loader, trainer, value):
    module, norms = spy(tiny), []

    class Norms(pl.Callback):
        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
            if grads:
                norms.append(nn.utils.get_total_norm(grads).item())

    fit = use_loop(trainer(gradient_clip_val=value, callbacks=[Norms()]), "fast")
    fit.fit(module, loader(batches))
    assert len(norms) == len(batches) - 1
    assert all(norm < 1.001e-3 for norm in norms) is (value is not None)
