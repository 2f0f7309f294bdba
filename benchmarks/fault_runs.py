"""One small training run in a forked process, killed at will, and what it left behind."""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import omegaconf.grammar_parser  # noqa: F401  (or every child imports it: a fifth of its time)
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from omegaconf import OmegaConf
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from potstill.data.fake import Fake
from potstill.data.imagenet import ImageNet
from potstill.heads.kd import KD
from potstill.pipeline.context import RunContext
from potstill.pipeline.teacher_cache import open_teacher_cache
from potstill.report.curves import merge_metrics
from potstill.training.callbacks.checkpoint import Checkpoint
from potstill.training.callbacks.ema import EMA
from potstill.training.callbacks.ema_teacher import EMATeacher
from potstill.training.callbacks.interrupt import Interrupt
from potstill.training.callbacks.reseed import Reseed
from potstill.training.checkpoints import files
from potstill.training.checkpoints.identity import held, identity
from potstill.training.loggers.csv import MetricsFile
from potstill.training.module import DistillationModule
from potstill.training.schedules import cosine

STEPS, EPOCHS = 4, 3


class Net(nn.Module):
    """A convolution, batch-norm, dropout, a linear layer, and idle numbers for a larger file."""

    def __init__(self, idle: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(4, 4)
        self.register_buffer("idle", torch.zeros(idle))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (N, 4)."""
        return self.fc(self.dropout(self.bn(self.conv(image)).relu().mean((2, 3))))


class PlainFake(Fake):
    """The same images through an ordinary shuffling loader."""

    def train_dataloader(self) -> DataLoader:
        """Return images and targets, in an order drawn for each epoch."""
        images = self._splits["train"]
        data = TensorDataset(self.normalize(images.images), images.targets)
        return DataLoader(data, self.batch_size, shuffle=True, drop_last=True)


@dataclass(frozen=True)
class Run:
    """3 epochs of 4 steps; `plain` is Lightning's own checkpoints, logger and a usual loader."""

    photos: Path | None = None  # a folder of files; fake data without it
    workers: int = 0
    every: int | None = 1  # steps between saves
    moving: bool = False  # the teacher is the student's moving average
    averaged: bool = False  # with a moving average beside the student, mixup and CutMix
    views: int = 1
    stored: bool = False  # what the teacher says is kept on disk and replayed
    idle: int = 0
    lr: float = 0.1
    plain: bool = False
    trainer: Mapping[str, Any] = field(default_factory=dict)
    callbacks: tuple[pl.Callback, ...] = ()
    allow: tuple[str, ...] = ()

    def data(self) -> pl.LightningDataModule:
        """Return 52 images, 20 of them for validation."""
        shown: dict[str, Any] = {"num_classes": 4, "image_size": 8, "batch_size": 8, "val_size": 20}
        if self.averaged:
            shown |= {"mixup": 0.4, "cutmix": 1.0}
        if self.photos is not None:
            return ImageNet(str(self.photos), num_workers=self.workers, **shown)
        kind = PlainFake if self.plain else Fake
        shown |= {"views": self.views, "flip": True, "crop_padding": 1}
        return kind(train_size=52, test_size=4, **shown)

    def module(self) -> DistillationModule:
        """Return student and teacher, the same in every process."""
        torch.manual_seed(0)
        return DistillationModule(
            Net(self.idle),
            Net(self.idle),
            {"kd": KD()},
            alpha=0.5,
            optimizer=partial(torch.optim.SGD, lr=self.lr, momentum=0.9),
            scheduler=cosine,
            image_shape=(3, 8, 8),
        )

    def fitting(self, folder: Path) -> pl.Trainer:
        """Return the Trainer of an attempt in `folder`."""
        callbacks = [*self.callbacks, *([EMATeacher(0.9)] if self.moving else [])]
        callbacks += [EMA(0.9)] if self.averaged else []
        if self.plain:
            last = ModelCheckpoint(
                folder / "checkpoints",
                "last",
                every_n_train_steps=self.every,
                enable_version_counter=False,
            )
            callbacks += [last]
        else:
            checkpoint = Checkpoint(every_n_steps=self.every)
            checkpoint.identity, checkpoint.allow = identity({"lr": self.lr}, {}), self.allow
            # Interrupt first: it must save what comes after it in this list.
            callbacks = [Interrupt(), Reseed(), *callbacks, checkpoint]
        logger = CSVLogger if self.plain else MetricsFile
        settings: dict[str, Any] = {"max_epochs": EPOCHS} | dict(self.trainer)
        return pl.Trainer(
            accelerator="cpu",
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
            default_root_dir=str(folder),
            logger=logger(folder.parent, name="", version=folder.name),
            callbacks=callbacks,
            **settings,
        )

    def train(self, folder: Path) -> None:
        """Train in `folder`, going on if it holds a checkpoint; leave result-RANK.json."""
        with held(folder) if os.environ.get("LOCAL_RANK", "0") == "0" else nullcontext():
            self._train(folder)

    def _train(self, folder: Path) -> None:
        module, trainer, data = self.module(), self.fitting(folder), self.data()
        if self.stored:
            module.cached = replay(module, data, folder / "teachers")
        start = last_plain(folder) if self.plain else files.last_good(folder / "checkpoints")
        if trainer.is_global_zero and (metrics := folder / "metrics.csv").is_file():
            count = len(list(folder.glob("metrics-*.csv")))
            metrics.rename(folder / f"metrics-{count:04d}.csv")
        trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)
        rank = trainer.global_rank
        (folder / f"result-{rank}.json").write_text(json.dumps(result(trainer, module, folder)))


def replay(module: DistillationModule, data: Any, folder: Path) -> Any:
    """Return the cached outputs of the module's teacher, as a run opens them."""
    data.setup("fit")
    module.prepare(data.train_targets)
    teacher = {"store": "auto", "store_dir": str(folder), "precision": "float16", "top_k": None}
    trainer = {"max_epochs": EPOCHS, "precision": "32-true"}
    cfg: Any = OmegaConf.create(
        {"teacher": teacher, "trainer": trainer, "callbacks": {}, "resume": True}
    )
    quiet, cpu = Console(quiet=True), torch.device("cpu")
    run = RunContext(cfg, cpu, data, module.task, folder, quiet, stages=())
    return open_teacher_cache(run, module)


def last_plain(folder: Path) -> Path | None:
    """Return Lightning's last checkpoint if it can be read."""
    path = folder / "checkpoints" / "last.ckpt"
    return path if path.is_file() and not is_torn(path) else None


def is_torn(path: Path) -> bool:
    """Tell whether a checkpoint cannot be read."""
    try:
        torch.load(path, weights_only=True)
    except Exception:  # whatever half a file brings up
        return True
    return False


def result(trainer: pl.Trainer, module: pl.LightningModule, folder: Path) -> dict[str, str]:
    """Return sha256 of weights, optimizer, metrics and best weights."""
    metrics = [*sorted(folder.glob("metrics-*.csv")), folder / "metrics.csv"]
    found = {
        "weights": sha256_of(module.state_dict()),
        "optimizer": sha256_of(trainer.optimizers[0].state_dict()),
    }
    if trainer.is_global_zero:
        merged = merge_metrics(metrics, folder / "merged.csv").read_bytes()
        found["metrics"] = hashlib.sha256(merged).hexdigest()
        best = folder / "checkpoints" / files.BEST
        found["best"] = sha256_of(files.read(best)["state_dict"]) if best.is_file() else ""
    return found


def sha256_of(state: Any) -> str:
    """Return the sha256 of tensors and plain values, as torch saves them."""
    file = io.BytesIO()
    torch.save(state, file)
    return hashlib.sha256(file.getvalue()).hexdigest()
