"""Pruning inside a fit: exact, held, resumed from every step, alike on two processes."""

import copy
import logging
import os
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from potstill.errors import ConfigError
from potstill.pipeline.stages.context import StageContext
from potstill.pipeline.stages.prune_pattern import PrunePattern
from potstill.pipeline.stages.prune_weights import PruneWeights
from potstill.pruning.weights.criteria.lamp import LAMP
from potstill.pruning.weights.criteria.magnitude import Magnitude
from potstill.pruning.weights.criteria.random import Random
from potstill.pruning.weights.criteria.taylor import Taylor
from potstill.pruning.weights.masks import add_masks
from potstill.pruning.weights.schedules import cubic
from potstill.training.callbacks.ema import EMA
from potstill.training.module import DistillationModule
from tests.support.masked_nets import update_masks

STEPS = 8
DRY = StageContext((3, 16, 16), dry_run=True)
RAMP = {"start": 0.25, "end": 0.75, "every": 2}  # of 8 steps: before the steps 2, 4 and 6
SETTINGS = {
    "magnitude": lambda: PruneWeights(0.75, **RAMP),
    "global": lambda: PruneWeights(0.75, Magnitude(), "global", **RAMP),
    "lamp": lambda: PruneWeights(0.75, LAMP(), "global", **RAMP),
    "random": lambda: PruneWeights(0.75, Random(), **RAMP),
    "taylor": lambda: PruneWeights(0.75, Taylor(), **RAMP),
    "one_shot": lambda: PruneWeights(0.5, start=0.5, end=0.5),
    "pattern": lambda: PrunePattern(2, 4, start=0.5),
}


def make(tiny, seed=0, optimizer=None):
    sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01)
    return DistillationModule(
        tiny(4, seed=seed), optimizer=optimizer or sgd, image_shape=(3, 16, 16)
    )


class Watch(pl.Callback):
    """Copies the student's state after every optimizer step; saves a checkpoint after each.

    The last is `last.ckpt`: after the fit the student has no masks.
    """

    def __init__(self, folder=None):
        self.folder, self.states = folder, []

    def on_train_batch_end(self, trainer, module, *_):
        if trainer.global_step == len(self.states):
            return
        self.states.append(copy.deepcopy(module.student.state_dict()))
        if self.folder:
            trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")

    def on_train_end(self, trainer, module):
        if self.folder:
            trainer.save_checkpoint(self.folder / "last.ckpt")


def zeros(state):
    return [int((state[f"{name}.weight"] == 0).sum()) for name in ("conv", "fc")]


@pytest.fixture
def same(batches):
    """One batch four times: where in the epoch a fit goes on makes no difference to the data."""
    return [batches[0]] * 4


@pytest.fixture
def fit(tiny, loader, trainer):
    def run(callbacks, batches, seed=0, ckpt_path=None, optimizer=None, **settings):
        module = make(tiny, seed, optimizer)
        trained = trainer(**({"max_epochs": 2, "callbacks": callbacks} | settings))
        loaders = loader(batches), loader(batches)
        trained.fit(module, *loaders, ckpt_path=ckpt_path, weights_only=True)
        return module, trained

    return run


@pytest.mark.parametrize("accumulate", [1, 2])
def test_sparsity_follows_the_ramp_step_by_step(fit, batches, accumulate):
    """Pruned before steps 2, 4, 6 (of four: 1, 3), and held in between."""
    watch = Watch()  # before the pruning callback, and still it sees masked weights
    callbacks = [watch, PruneWeights(0.75, **RAMP)]
    fit(callbacks, batches, accumulate_grad_batches=accumulate)
    total = STEPS // accumulate
    start, end, every = total // 4, total * 3 // 4, 2
    expected, now = [], 0.0
    for step in range(total):
        if step in {*range(start, end, every), end}:
            now = cubic(step, start, end, 0.75)
        expected.append([round(now * 108), round(now * 20)])
    assert [zeros(state) for state in watch.states] == expected
    assert expected[-1] == [81, 15]


@pytest.mark.parametrize("name", SETTINGS)
def test_masks_are_those_of_the_function(fit, tiny, batches, name):
    """The last pruning, done again in a notebook's way on the weights before it."""
    watch, callback = Watch(), SETTINGS[name]()
    fit([callback, watch], batches)
    last = callback.ramp(STEPS).end
    before, after = watch.states[last - 1], watch.states[last]
    masks = {key: value for key, value in after.items() if key.endswith("_mask")}
    assert len(masks) == 2
    for key, mask in masks.items():
        weight = after[key.removesuffix("_mask")]
        assert torch.equal(weight != 0, mask)
        assert torch.equal(watch.states[-1][key], mask)
    if name in ("taylor", "pattern"):  # need gradients; have their own oracle in test_choose
        share = {"taylor": [81, 15], "pattern": [0, 10]}[name]
        assert zeros(after) == share
        return
    net = tiny(4)
    add_masks(net)
    net.load_state_dict(before)
    update_masks(net, callback.sparsity, callback.criterion, callback.scope)
    assert all(torch.equal(net.state_dict()[key], mask) for key, mask in masks.items())


def test_taylor_by_hand(fit, tiny, batches):
    """Squares of weight times gradient, summed since the pruning before (step 4), decide at 6."""
    watch, net, summed = Watch(), tiny(4), {"conv": 0, "fc": 0}
    fit([PruneWeights(0.75, Taylor(), **RAMP), watch], batches)
    add_masks(net)
    for step in (5, 6):
        net.load_state_dict(watch.states[step - 1])
        net.train().zero_grad()
        image, target, _ = batches[step % 4]
        nn.functional.cross_entropy(net(image), target).backward()
        for name in summed:
            weight = getattr(net, name).weight
            summed[name] += (weight * weight.grad).detach() ** 2
    for name, scores in summed.items():
        mask = watch.states[5][f"{name}.weight_mask"]
        values = scores.masked_fill(~mask, -1).flatten().tolist()
        order = sorted(range(len(values)), key=lambda k: (values[k], k))
        kept = torch.ones(len(values), dtype=torch.bool)
        kept[order[: round(0.75 * len(values))]] = False
        assert torch.equal(watch.states[6][f"{name}.weight_mask"].flatten(), kept)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_zeros_hold_through_adaptive_optimizers(fit, batches, optimizer):
    watch = Watch()
    make_optimizer = partial(optimizer, lr=0.05, weight_decay=0.1)
    fit([watch, PruneWeights(0.5, start=0.5, end=0.5)], batches, optimizer=make_optimizer)
    assert [zeros(state) for state in watch.states] == [[0, 0]] * 4 + [[54, 10]] * 4


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before")
@pytest.mark.parametrize("name", ["global", "taylor", "pattern"])
def test_resume_from_every_step_has_the_same_bits(fit, same, tmp_path, name):
    """Before, at and after each pruning; weights, masks, momentum, average and its counter."""

    def callbacks(*more):
        return [EMA(0.9), *more, SETTINGS[name]()]

    watch = Watch(tmp_path)
    fit(callbacks(watch), same)
    expected = flat(torch.load(tmp_path / "last.ckpt", weights_only=True))
    assert any("momentum_buffer" in key for key in expected)
    assert any("EMA" in key and key.endswith("fc.weight_mask") for key in expected)
    keys = None
    for step in range(1, STEPS):
        path = tmp_path / f"{step}.ckpt"
        saved = torch.load(path, weights_only=True)
        assert keys in (None, keys := list(saved["state_dict"]))  # constant from the first step
        fit(callbacks(Watch(tmp_path / "resumed")), same, seed=9, ckpt_path=path)
        found = flat(torch.load(tmp_path / "resumed" / "last.ckpt", weights_only=True))
        assert found.keys() == expected.keys()
        for key, value in found.items():
            assert torch.equal(value, expected[key]), (step, key)


def flat(checkpoint):
    """Return every tensor of the student, the optimizer and the callbacks, by a dotted key."""
    found = {}

    def walk(value, path):
        if isinstance(value, torch.Tensor):
            found[path] = value
        elif isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{path}.{key}")
        elif isinstance(value, list):
            for key, inner in enumerate(value):
                walk(inner, f"{path}.{key}")

    for part in ("state_dict", "optimizer_states", "callbacks"):
        walk(checkpoint[part], part)
    return found


def test_clipping_sees_the_gradients_that_count(fit, batches):
    """Or the norm of weights that are gone would shrink the step of those that stay."""
    norms = []

    class Norms(pl.Callback):
        def on_before_zero_grad(self, trainer, module, optimizer):
            kept = [p.grad[p != 0] for p in module.student.parameters() if p.grad is not None]
            norms.extend([torch.cat(kept).norm().item()] if kept else [])

    callbacks = [PruneWeights(0.7, start=0.0, end=0.0), Norms()]
    fit(callbacks, batches, gradient_clip_val=1e-3)
    assert norms == pytest.approx([1e-3] * len(norms), rel=1e-3)
    assert len(norms) >= 4


def test_finished_network_and_logs(fit, batches, tiny, tmp_path, caplog):
    csv = CSVLogger(tmp_path, version="")
    with caplog.at_level(logging.INFO, "potstill"):
        module, _ = fit([PruneWeights(0.75, **RAMP)], batches, logger=csv)
    assert "75.00 % of the weights under masks are zero" in caplog.text
    assert "before the ramp" not in caplog.text
    network = module.student
    assert network.state_dict().keys() == tiny(4).state_dict().keys()
    assert zeros(network.state_dict()) == [81, 15]
    rows = (tmp_path / "lightning_logs" / "metrics.csv").read_text()
    assert "sparsity" in rows
    assert "0.75" in rows


def test_a_fit_that_stops_before_the_end_of_the_ramp_says_so(fit, batches, caplog):
    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = trainer.global_step >= 3

    with caplog.at_level(logging.WARNING, "potstill"):
        fit([PruneWeights(0.75, **RAMP), Stop()], batches)
    assert "ended at step 3, before the ramp did at step 6" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 0.0}, r"sparsity=0\.0: must be between 0 and 1"),
        ({"sparsity": 1.0}, r"sparsity=1\.0: must be between 0 and 1"),
        ({"sparsity": 0.5, "start": 0.6}, r"start=0\.6, end=0\.5: must be shares"),
        ({"sparsity": 0.5, "end": 1.0}, r"end=1\.0: must be shares of the fit"),
        ({"sparsity": 0.5, "every": 0}, r"every=0: must be at least 1"),
        ({"sparsity": 0.5, "initial": 0.5}, r"initial=0\.5: must be on a ramp"),
        ({"sparsity": 0.5, "initial": 0.1, "end": 0.0}, r"initial=0\.1: must be on a ramp"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        PruneWeights(**settings)


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (PruneWeights(0.5, untouchable=["fx"]), r"untouchable=fx: no such layer"),
        (PruneWeights(0.99), r"leaves nothing of fc\.weight"),
        (PruneWeights(0.001), r"prunes no weight"),
        (PruneWeights(0.5, scope="all"), r"scope=all"),
        (PruneWeights(0.5, LAMP()), r"criterion=lamp, scope=layer"),
        (PrunePattern(3, 7), r"m=7: the inputs of no layer"),
    ],
)
def test_what_can_be_foreseen_stops_a_rehearsal_and_a_fit(fit, batches, tiny, callback, message):
    with pytest.raises(ConfigError, match=message):
        callback.apply(tiny(4), DRY)
    with pytest.raises(ConfigError, match=message):
        fit([callback], batches)


def test_a_rehearsal_leaves_the_network_as_it_was(tiny):
    stage = PruneWeights(0.5)
    net = stage.finalize(stage.apply(tiny(4), DRY))
    expected = tiny(4).state_dict()
    assert net.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in net.state_dict().items())


def test_pattern_that_cannot_be():
    with pytest.raises(ConfigError, match="n=4, m=4"):
        PrunePattern(4, 4)


# -- two processes ---------------------------------------------------------------------------


class Net(nn.Module):
    """No batch-norm: its running statistics differ between processes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.conv(x).relu().mean((2, 3)))


def worker(rank, folder):
    """Train on this rank's half of each batch, by DDP."""
    torch.set_num_threads(1)
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "localhost", "MASTER_PORT": "29531"}
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    module = DistillationModule(
        Net(), optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9), image_shape=(3, 16, 16)
    )
    generator = torch.Generator().manual_seed(rank)
    data = [(torch.randn(8, 3, 16, 16, generator=generator), torch.arange(8) % 5) for _ in range(8)]
    ema, watch = EMA(0.9), Watch()
    pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[PruneWeights(0.75, Taylor(), "global", **RAMP), ema, watch],
    ).fit(module, torch.utils.data.DataLoader(data, batch_size=None))
    torch.save([watch.states[-1], ema._live().module.state_dict()], f"{folder}/{rank}.pt")


@pytest.mark.slow
def test_two_processes_prune_alike(tmp_path):
    mp.start_processes(worker, (str(tmp_path),), nprocs=2, start_method="spawn")
    one, two = (torch.load(Path(tmp_path) / f"{k}.pt", weights_only=True) for k in range(2))
    for ours, theirs in zip(one, two, strict=True):
        assert sum(int((~ours[f"{name}.weight_mask"]).sum()) for name in ("conv", "fc")) == 96
        for name, value in ours.items():
            assert torch.equal(value, theirs[name]), name
