"""What is raced: a run's training as the framework sets it up, and the same by hand."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial, wraps
from itertools import repeat
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import Tensor, nn
from turns import Pause, clock_of

from potstill.config.compose import Command, configs
from potstill.config.instantiate import instantiate
from potstill.data.datamodule import ImageData
from potstill.models.features.extractor import FeatureExtractor
from potstill.pipeline.context import begin
from potstill.pipeline.experiment import Experiment
from potstill.pipeline.fit import choose_kernels
from potstill.training.precision import compiled, lay_out, settle_precision, use_channels_last
from potstill.training.trainer import make_trainer

Forward = Callable[[Tensor, Tensor], Tensor]  # (image, sample_id) -> the teacher's logits (N, K)

CONF = Path(__file__).parents[1] / "conf"
# A bar, a check of the teacher before the first step and signal handlers, which only a main
# thread may set: nothing of a step.
SETTINGS = (
    "data=fake", "data.num_classes=10", "data.crop_padding=4", "data.flip=true",
    "data.test_size=10", "trainer.accelerator=cpu", "+trainer.enable_progress_bar=false",
    "callbacks.progress=null", "callbacks.interrupt=null", "callbacks.teacher_check=null",
)  # fmt: skip


def pace(module: pl.LightningModule, pause: Pause, losses: list[Tensor]) -> None:
    """Have `module` pause at the start of each training step, and keep the losses.

    Not a callback: Lightning would call it at every hook, and that time is not the framework's.
    """
    step = module.training_step

    @wraps(step)
    def paced(*batch: Any) -> Tensor:
        pause()
        loss = step(*batch)
        losses.append(loss.detach())
        return loss

    module.training_step = paced  # type: ignore[method-assign]


@dataclass
class Job:
    """A student's training by the framework, as `train.py` would do it for `cfg`.

    Attributes:
        cfg: of the run.
        folder: of the run's files.
        teacher: what it distils from; None for training on labels alone.
        losses: of the steps so far.
    """

    cfg: DictConfig
    folder: Path
    teacher: nn.Module | None = None
    losses: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Build the data and the student."""
        context = begin(self.cfg, self.folder, Console(file=io.StringIO()))
        self.data: ImageData = context.data
        self.study = Experiment(context)
        self.data.trainer = make_trainer(self.cfg, None, 1)  # says which device the loaders serve
        self.study.seed()
        self.student: nn.Module = instantiate(self.cfg.module.student)

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return self.study.run.device

    def fill(self) -> tuple[Tensor, list[float]]:
        """Run the teacher for the first epoch and cache its outputs, as `teacher.store` says.

        Returns its logits by sample id (num_train, K) as they are kept, and the seconds of each
        batch.
        """
        assert self.teacher is not None
        self.study.meet(self.teacher)
        stored = self.study.cached
        assert stored is not None
        table = torch.zeros(self.data.num_train, self.data.num_classes)
        network = self.study.folded.network if self.study.folded else self.teacher
        extractor, clock = FeatureExtractor(network.to(self.device)), clock_of(self.device)

        def forward(image: Tensor, sample_id: Tensor) -> None:
            table[sample_id.cpu()] = stored(extractor, image, sample_id, 0).logits.cpu()

        batches = self.data.train_dataloader()
        seconds = [clock(partial(forward, image, sample_id)) for image, _, sample_id in batches]
        stored.store.flush()
        return table.to(self.device), seconds

    def loop(self, pause: Pause) -> None:
        """Train, in turns."""
        if self.teacher is not None and self.study.cached is None:
            self.study.meet(self.teacher)
        module = self.study.module(self.student, self.teacher)
        choose_kernels(self.study.run, module, 1)
        pace(module, pause, self.losses)
        make_trainer(self.cfg, self.folder, 1).fit(module, datamodule=self.data)


def compose(*overrides: str) -> DictConfig:
    """Return the config of a run with these overrides, as it is for this machine."""
    cfg = next(configs(Command(CONF, overrides=overrides)))
    cfg = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    on_gpu = cfg.trainer.accelerator == "gpu"
    return settle_precision(cfg, torch.device("cuda" if on_gpu else "cpu"))


def calibrated(network: nn.Module, images: Tensor) -> nn.Module:
    """Return `network` in eval mode with the batch-norm statistics of these images.

    With fresh ones a deep network's logits grow past what half precision holds.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # type: ignore[assignment]
    with torch.no_grad():
        network.train()(images)
    for norm in norms:
        norm.momentum = 0.1
    return network.eval()


def by_hand(
    job: Job, forward: Forward, losses: list[Tensor], pause: Pause, always_same: bool = False
) -> None:
    """Train as `job` does, in one loop; `forward` gives the teacher's logits of a batch.

    With `always_same` on the first batch over and over: what costs no loader anything.
    """
    cfg, student, loader = job.cfg, job.student.to(job.device), job.data.train_dataloader()
    temperature, alpha, epochs = float(cfg.temperature), float(cfg.alpha), 1
    optimizer = instantiate(cfg.module.optimizer)(student.parameters())
    schedule = instantiate(cfg.module.scheduler)(optimizer, len(loader) * epochs, len(loader))
    precision = str(cfg.trainer.precision)
    half = partial(torch.autocast, job.device.type, torch.bfloat16, "bf16" in precision)
    student.train()
    if use_channels_last(cfg.channels_last, job.device, precision):
        lay_out(student)
    call = compiled(student) if cfg.compile is True else student
    for image, target, sample_id in repeat(next(iter(loader))) if always_same else loader:
        pause()
        with half():
            logits = call(image).float()
        log_p = F.log_softmax(logits / temperature, dim=1)
        log_q = F.log_softmax(forward(image, sample_id) / temperature, dim=1)
        divergence = F.kl_div(log_p, log_q, reduction="batchmean", log_target=True)
        loss = (1 - alpha) * F.cross_entropy(logits, target) + alpha * temperature**2 * divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
