"""Stages as callbacks of anybody's Trainer: applied once, finalized after, and as the pipeline."""

import copy
from functools import partial

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from potstill.artifact.spec import ModelSpec
from potstill.data.fake import Fake
from potstill.errors import ConfigError
from potstill.heads.simkd import SimKD
from potstill.measure.counts import is_quantized
from potstill.models.tiny_cnn import tiny_cnn
from potstill.pipeline.experiment import Experiment
from potstill.pipeline.stage_runner import run_stage
from potstill.pipeline.stages.base import Stage
from potstill.pipeline.stages.prune_channels import PruneChannels
from potstill.pipeline.stages.prune_weights import PruneWeights
from potstill.pipeline.stages.qat import QuantizationAwareTraining
from potstill.pipeline.trained_model import TrainedModel
from potstill.pruning.channels.criteria.taylor import Taylor
from potstill.quantization.prepare import is_prepared
from potstill.training.callbacks.reseed import Reseed
from potstill.training.module import DistillationModule
from tests.support.small_runs import started

SEED, EPOCHS = 3, 2


def data():
    made = Fake(num_classes=4, image_size=16, batch_size=8, train_size=56, val_size=16, noise=30)
    made.setup("fit")
    return made


def student(seed=0):
    torch.manual_seed(seed)
    return tiny_cnn(4, width=4)


def module(network=None):
    return DistillationModule(
        network or student(),
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        image_shape=(3, 16, 16),
    )


def halve():
    return PruneChannels(macs=0.6, round_to=1, first=None, then=None)


def by_gradients():
    return PruneChannels(Taylor(), ratio=0.25, round_to=1, first=None, then=None, n_batches=2)


class Sandwich(Stage):
    """Two passes a batch, the second over half of the images."""

    def training_step(self, module, batch):
        image, target, _ = batch
        return module.one_pass(batch) + module.one_pass((image[:4], target[:4], None))


MAKES = {
    "weights": halve,
    "gradients": by_gradients,
    "qat": QuantizationAwareTraining,
    "passes": Sandwich,
}


@pytest.mark.parametrize("name", MAKES)
def test_pipeline_and_plain_trainer_end_with_the_same_bits(name, tmp_path, trainer):
    make = MAKES[name]
    run = started(
        tmp_path / "run",
        *("data.train_size=56", "data.noise=30", "data.num_classes=4", f"seed={SEED}"),
        *("model@module.student=tiny_cnn", "module.student.width=4", "module.heads=null"),
        *("module.scheduler=null", "optimizer@module.optimizer=sgd"),
        *("module.optimizer.lr=0.05", "module.optimizer.weight_decay=0"),
        "module.optimizer.nesterov=false",
        *("+stage@stages.small=finetune", "stages.small.distil=false"),
        f"stages.small.epochs={EPOCHS}",
    )
    experiment, (config,) = Experiment(run), run.stages
    start = TrainedModel(student(), run.folder / "student", 0)
    experiment.fitted["student"] = start
    run_stage_with(experiment, config, make())
    expected = experiment.fitted["small"].network

    pl.seed_everything(SEED, verbose=False)
    plain = module(copy.deepcopy(start.network))
    fit = trainer(
        max_epochs=EPOCHS, callbacks=[make(), Reseed(SEED)], default_root_dir=tmp_path / "plain"
    )
    fit.fit(plain, datamodule=run.data)
    found, expected = plain.student.state_dict(), expected.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in found.items())
    assert is_quantized(plain.student) is (name == "qat")


def run_stage_with(experiment, config, *stages):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("potstill.pipeline.stage_runner.make_stages", lambda _: list(stages))
        run_stage(experiment, config, None)


@pytest.mark.parametrize("make", [halve, by_gradients])
def test_a_resumed_fit_repeats_the_pruning(make, tmp_path, trainer, monkeypatch):
    saved, settings = tmp_path / "one.ckpt", {"max_epochs": 1, "default_root_dir": tmp_path}
    first = module()
    fit = trainer(callbacks=[make()], **settings)
    fit.fit(first, datamodule=data())
    fit.save_checkpoint(saved)
    monkeypatch.setattr(
        "potstill.pipeline.stages.prune_channels.prune_channels",
        lambda *_, **__: pytest.fail("pruned again"),
    )
    again = module(student(seed=9))
    further = trainer(callbacks=[make()], **settings | {"max_epochs": 2})
    further.fit(again, datamodule=data(), ckpt_path=saved, weights_only=True)
    assert again.student.conv1.weight.shape == first.student.conv1.weight.shape
    assert further.global_step == 2 * fit.global_step


class Note(pl.Callback):
    """Notes whether the student is fake-quantized whenever something begins."""

    def __init__(self):
        self.prepared = []

    def on_train_start(self, trainer, pl_module):
        self.prepared.append(is_prepared(pl_module.student))

    on_validation_start = on_train_start


def test_inside_the_trainer_it_is_the_student_in_training_and_outside_what_is_deployed(
    tmp_path, trainer
):
    plain, note = module(), Note()
    best = ModelCheckpoint(tmp_path, monitor="val/accuracy", mode="max")
    fit = trainer(
        max_epochs=2,
        enable_checkpointing=True,
        inference_mode=False,  # or torchmetrics could not go on after it
        callbacks=[note, QuantizationAwareTraining(), best],
    )
    images = data()
    fit.fit(plain, datamodule=images)
    image = torch.zeros(2, 3, 16, 16)
    assert is_quantized(plain.student)
    assert torch.equal(plain(image), plain.student(image))
    fit.validate(plain, datamodule=images, ckpt_path="best", weights_only=True, verbose=False)
    assert is_quantized(plain.student)
    fit.fit_loop.max_epochs = 3
    fit.fit(plain, datamodule=images)
    assert len(note.prepared) == 6  # two fits, their three epochs, and one validation
    assert all(note.prepared)
    assert is_quantized(plain.student)


def test_two_stages_are_finalized_one_after_the_other(trainer):
    plain = module()
    callbacks = [PruneWeights(0.5, start=0.0, end=0.0), QuantizationAwareTraining()]
    trainer(max_epochs=1, callbacks=callbacks).fit(plain, datamodule=data())
    assert is_quantized(plain.student)
    codes = [v for v in plain.student.state_dict().values() if v.dtype == torch.int8]
    assert all((code == 0).float().mean() >= 0.49 for code in codes)


def test_a_training_step_of_several_passes_is_what_trains(trainer):
    """By hand: the sum of two cross entropies, by plain torch."""
    plain, images, by_hand = module(), data(), student()
    trainer(max_epochs=1, limit_train_batches=3, callbacks=[Sandwich()]).fit(
        plain, datamodule=images
    )
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.05, momentum=0.9)
    by_hand.train()
    loader = data().train_dataloader()
    loader.set_epoch(0)
    for (image, target, _), _ in zip(loader, range(3), strict=False):
        loss = nn.functional.cross_entropy(by_hand(image), target)
        loss = loss + nn.functional.cross_entropy(by_hand(image[:4]), target[:4])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = plain.student.state_dict()
    for key, value in by_hand.state_dict().items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-6)


def test_one_training_step_is_enough(trainer):
    with pytest.raises(ConfigError, match="Sandwich and Sandwich both define a training step"):
        trainer(callbacks=[Sandwich(), Sandwich()]).fit(module(), datamodule=data())


class Other(pl.LightningModule):
    def training_step(self, batch):
        return None

    def configure_optimizers(self):
        return None

    def train_dataloader(self):
        return [0]


def test_what_a_stage_cannot_change_is_refused(trainer):
    with pytest.raises(ConfigError, match="changes the student of a DistillationModule"):
        trainer(callbacks=[halve()]).fit(Other())
    teacher = tiny_cnn(4, width=4)
    kept = DistillationModule(student(), teacher, {"simkd": SimKD()}, image_shape=(3, 16, 16))
    with pytest.raises(ConfigError, match="without the head simkd"):
        trainer(callbacks=[QuantizationAwareTraining()]).fit(kept, datamodule=data())


def test_images_are_asked_of_a_data_module(trainer, loader):
    batch = (torch.zeros(8, 3, 16, 16), torch.zeros(8, dtype=torch.int64), torch.arange(8))
    with pytest.raises(ConfigError, match="fit with a data module"):
        trainer(callbacks=[by_gradients()]).fit(module(), loader([batch]))


# -- stages of the pipeline ------------------------------------------------------------------


class Narrow(Stage):
    """Scales the classifier at each step; wants to go on until `most` steps are done."""

    def __init__(self, most):
        self.most, self.applied, self.asked = most, [], []

    def apply(self, network, context):
        self.applied.append(context.step)
        return network

    def one_more(self, network, context):
        self.asked.append(context.folder.name)
        return context.step + 1 < self.most


@pytest.fixture
def experiment(tmp_path):
    def make(*more):
        run = started(
            tmp_path / "run",
            *("data.train_size=40", "model@module.student=tiny_cnn", "module.heads=null"),
            *("+stage@stages.small=finetune", "stages.small.distil=false"),
            "stages.small.epochs=1",
            *more,
        )
        made = Experiment(run)
        spec = ModelSpec("tiny_cnn", {"num_classes": 4, "width": 4})
        made.fitted["student"] = TrainedModel(student(), run.folder / "student", 0, spec=spec)
        return made

    return make


def test_a_stage_without_transforms_is_fine_tuning(experiment):
    made = experiment()
    run_stage(made, made.run.stages[0], None)
    tuned = made.fitted["small"]
    assert made.stages["small"] == "train"
    before = made.fitted["student"].network.state_dict()
    assert not torch.equal(tuned.network.conv1.weight, before["conv1.weight"])
    assert sorted(path.name for path in tuned.folder.parent.glob("*/*.safetensors")) == [
        "small.safetensors"
    ]


def test_a_stage_may_want_one_more_step(experiment):
    made, stage = experiment(), Narrow(most=3)
    run_stage_with(made, made.run.stages[0], stage)
    assert stage.applied == [0, 1, 2]
    assert stage.asked == ["small-1", "small-2", "small-3"]
    folder = made.run.folder
    assert (folder / "small" / "metrics.csv").is_file()
    last, own = (
        (folder / name / f"{name}.safetensors").read_bytes() for name in ("small-3", "small")
    )
    assert last == own
    resumed, again = experiment("resume=true"), Narrow(most=9)
    (folder / "small" / "small.safetensors").unlink()
    run_stage_with(resumed, resumed.run.stages[0], again)
    assert (again.applied, again.asked) == ([], [])  # what was decided counts
    assert resumed.fitted["small"].file.read_bytes() == own
