"""The order of epochs, the share of each process, and exact resumption under Lightning."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from potstill.data.fake import Fake
from potstill.data.loaders import epoch_order as orders_of
from potstill.data.loaders.epoch_order import EpochLoader, epoch_order, eval_batches, train_batches
from potstill.errors import ConfigError

STEPS = 4  # of an epoch


class Echo(EpochLoader):
    """Yields (epoch, ids) instead of images."""

    def read(self, batches):
        epoch = self.epoch
        yield from ((epoch, batch.tolist()) for batch in batches)


def echo(num_samples=10, batch_size=3, seed=0, drop_last=True):
    return Echo(num_samples, batch_size, seed, drop_last)


def test_an_epochs_order_is_a_permutation_of_its_own():
    orders = [epoch_order(50, seed, epoch).tolist() for seed in (0, 1) for epoch in (0, 1, 2)]
    assert all(sorted(ids) == list(range(50)) for ids in orders)
    assert len(set(map(tuple, orders))) == 6
    assert epoch_order(50, 1, 2).tolist() == orders[-1]


def test_passes_run_through_the_epochs():
    loader = echo()
    passes = [list(loader) for _ in range(3)]
    for epoch, batches in enumerate(passes):
        ids = epoch_order(10, 0, epoch).tolist()
        assert batches == [(epoch, ids[start : start + 3]) for start in (0, 3, 6)]
    assert len(loader) == 3


def test_without_drop_last_every_sample_is_seen():
    loader = echo(drop_last=False)
    assert sorted(i for _, ids in loader for i in ids) == list(range(10))
    assert len(loader) == 4


def test_the_epoch_may_be_set_after_the_iterator_is_made():
    loader = echo()
    iterator = iter(loader)
    loader.sampler.set_epoch(5)
    assert next(iterator) == (5, epoch_order(10, 0, 5)[:3].tolist())


def endless(loader):
    while True:
        yield from loader


@pytest.mark.parametrize("done", range(8))
def test_the_state_is_absolute_and_survives_repeated_resumes(done):
    whole = list(islice(endless(echo()), 3 * done))
    seen, loader = [], echo()
    for _ in range(3):
        seen += islice(endless(loader), done)
        state = loader.state_dict()
        loader = echo()
        loader.load_state_dict(state)
    assert seen == whole


@pytest.mark.parametrize("drop_last", [True, False])
def test_the_samples_announced_are_those_handed_out_in_an_order_of_ones_own_too(drop_last):
    class Backwards(Echo):
        """Goes from the last sample to the first."""

        def order(self, epoch):
            return torch.arange(self.num_samples).flip(0)

    for loader in (echo(drop_last=drop_last), Backwards(10, 3, 0, drop_last)):
        for epoch in range(2):
            announced = loader.sample_ids(epoch).tolist()
            assert announced == [i for _, ids in loader for i in ids]


def test_too_large_a_batch_is_refused():
    with pytest.raises(ConfigError, match=r"data.batch_size=11: 10 training samples"):
        echo(batch_size=11)


@pytest.fixture
def as_rank(monkeypatch):
    """Return a function that pretends to be one of several processes."""
    return lambda rank, world: monkeypatch.setattr(
        orders_of, "rank_and_world", lambda: (rank, world)
    )


@pytest.mark.parametrize(("world", "batch_size"), [(1, 12), (2, 6), (3, 4), (4, 3)])
@pytest.mark.parametrize("drop_last", [True, False])
def test_a_steps_samples_do_not_depend_on_the_world(as_rank, world, batch_size, drop_last):
    ids = torch.arange(100)
    parts = []
    for rank in range(world):
        as_rank(rank, world)
        parts.append(train_batches(ids, batch_size, drop_last))
    steps = [sorted(i for part in step for i in part.tolist()) for step in zip(*parts, strict=True)]
    expected = [list(range(start, min(start + 12, 100))) for start in range(0, 100, 12)]
    assert steps == (expected[:-1] if drop_last else expected)


def test_no_rank_is_left_without_samples(as_rank):
    for rank in range(4):
        as_rank(rank, 4)  # the last 2 of 26 would reach two ranks of four
        assert [len(batch) for batch in train_batches(torch.arange(26), 3, False)] == [3, 3]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("num_samples", [101, 97, 96, 64])
def test_evaluation_sees_every_sample_once_in_as_many_batches_on_each_rank(
    as_rank, world, num_samples
):
    shares = []
    for rank in range(world):
        as_rank(rank, world)
        shares.append(eval_batches(num_samples, 16))
    assert len({len(share) for share in shares}) == 1
    assert all(0 < len(batch) <= 16 for share in shares for batch in share)
    assert sorted(torch.cat([b for s in shares for b in s]).tolist()) == list(range(num_samples))


class Recorder(LightningModule):
    """Trains one weight and writes down which samples it saw in which epoch."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch):
        self.seen.append((self.current_epoch, batch[2].tolist()))
        return self.weight * batch[0].mean()

    def validation_step(self, batch):
        self.log("val", batch[0].mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


class SaveAt(Callback):
    """Writes a checkpoint, in one hook, named by the steps done."""

    def __init__(self, hook, folder):
        self.paths = []
        setattr(self, hook, lambda trainer, *_: self.save(trainer, folder))

    def save(self, trainer, folder):
        if not trainer.sanity_checking:
            path = Path(folder) / f"{trainer.global_step:02d}.ckpt"
            trainer.save_checkpoint(path)
            self.paths.append(path)


def fit(callbacks=(), ckpt_path=None, data=None, **options):
    module = Recorder()
    options = {"max_epochs": 3, "num_sanity_val_steps": 0} | options
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **options,
    )
    data = data or Fake(image_size=8, train_size=40, test_size=10, val_size=7, batch_size=8)
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return module.seen


def expected_run(num_samples=33, batch_size=8, epochs=3):
    return [
        (epoch, ids.tolist())
        for epoch in range(epochs)
        for ids in epoch_order(num_samples, 0, epoch).split(batch_size)[:STEPS]
    ]


def test_lightning_takes_the_epochs_in_turn():
    assert fit() == expected_run()


HOOKS = {  # hook -> steps done at each of its checkpoints
    "on_train_batch_end": range(1, 3 * STEPS + 1),
    "on_validation_end": range(STEPS, 3 * STEPS + 1, STEPS),
    "on_train_epoch_end": range(STEPS, 3 * STEPS + 1, STEPS),
}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("limit", [{"max_epochs": 3}, {"max_epochs": -1, "max_steps": 3 * STEPS}])
def test_a_run_resumed_anywhere_sees_the_samples_that_were_left(tmp_path, hook, limit):
    saving = SaveAt(hook, tmp_path)
    whole = fit([saving], **limit)
    assert whole == expected_run()
    assert [int(path.stem) for path in saving.paths] == list(HOOKS[hook])
    for done, path in zip(HOOKS[hook], saving.paths, strict=True):
        assert fit(ckpt_path=path, **limit) == whole[done:], done


def test_a_resumed_run_can_be_resumed_in_the_same_epoch(tmp_path):
    first, second = SaveAt("on_train_batch_end", tmp_path), SaveAt("on_train_batch_end", tmp_path)
    whole = fit([first])
    fit([second], ckpt_path=first.paths[4])
    assert fit(ckpt_path=second.paths[0]) == whole[6:]


def test_an_epoch_cut_short_by_lightning_is_followed_by_the_next():
    seen = fit(limit_train_batches=2)
    assert seen == [batch for i, batch in enumerate(expected_run()) if i % STEPS < 2]


def test_overfit_batches_is_refused():
    with pytest.raises(ConfigError, match=r"trainer.overfit_batches=2"):
        fit(overfit_batches=2)


def test_alone_one_process_reads_what_several_share(monkeypatch):
    monkeypatch.setattr(orders_of.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(orders_of.dist, "get_rank", lambda: 1)
    monkeypatch.setattr(orders_of.dist, "get_world_size", lambda: 2)
    assert torch.cat(orders_of.eval_batches(5, 2)).tolist() == [1, 3]
    with orders_of.single_process():
        assert torch.cat(orders_of.eval_batches(5, 2)).tolist() == [0, 1, 2, 3, 4]
    assert orders_of.rank_and_world() == (1, 2)
