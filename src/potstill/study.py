"""The networks of one run: built, rehearsed, and trained one after another."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import nn

from potstill.check import instantiate
from potstill.data.datamodule import ImageData
from potstill.errors import ConfigError
from potstill.fit import Fitted, fit, make_trainer, save_network
from potstill.loggers import finish
from potstill.models.weights import is_path
from potstill.module import DistillationModule
from potstill.predict import predict
from potstill.report import metrics
from potstill.teacher.frozen import sha256_of
from potstill.teacher.kept import KeptTeacher, check_classes


class Study:
    """A teacher, a student distilled from it, and the same student alone.

    Attributes:
        fitted: what has been trained or read so far, by name.
        stages: what each network went through, by name, in the order of the table.
        distils: whether there are heads, and so a teacher.
    """

    def __init__(self, cfg: DictConfig, data: ImageData, folder: Path, console: Console) -> None:
        self.cfg, self.data, self.folder, self.console = cfg, data, folder, console
        self.distils = bool(cfg.module.get("heads"))
        self.fitted: dict[str, Fitted] = {}
        student = "distil" if self.distils else "train"
        self.stages = {"teacher": "teacher", "student": student, "baseline": "baseline"}

    def rehearse(self) -> None:
        """Build everything once and train nothing: what is wrong shows before the first step."""
        self._seed()
        teacher = instantiate(self.cfg.module.teacher) if self.distils else None
        weights = Path(self.cfg.module.teacher.get("weights") or "") if self.distils else Path()
        if weights.is_file():
            check_classes(weights, self.data.class_names)
        module = self._module(instantiate(self.cfg.module.student), teacher)
        module.prepare(self.data.train_targets)
        trainer = make_trainer(self.cfg, None, 1)
        if trainer.world_size > 1:
            raise ConfigError(
                f"trainer.devices={self.cfg.trainer.devices}: one process only, for now. "
                "Fix: trainer.devices=1"
            )
        self.device = trainer.strategy.root_device

    def teacher(self) -> nn.Module:
        """Return the teacher: from the weights given, from an earlier run, or trained now."""
        network = self._fresh_teacher()
        if not self.cfg.teacher.epochs or is_trained(self.cfg.module.teacher):
            self.fitted["teacher"] = Fitted(network, self.folder / "teacher", 0)
            return network
        kept = KeptTeacher(self.cfg.teacher.store_dir, self._recipe())
        if not kept.exists:
            return self._new_teacher(network, kept)
        record = kept.load(network, self.data.class_names)
        self.console.print(f"teacher   kept from an earlier run in {kept.folder}", soft_wrap=True)
        self.fitted["teacher"] = Fitted(network, kept.folder, record["epochs"])
        return network

    def _fresh_teacher(self) -> nn.Module:
        """Build the teacher anew: the rehearsal has frozen its own."""
        self._seed()
        return instantiate(self.cfg.module.teacher)

    def _new_teacher(self, network: nn.Module, kept: KeptTeacher) -> nn.Module:
        epochs = self.cfg.teacher.epochs
        self.console.print(
            f"teacher   trained first, {epochs} epochs; kept in {kept.folder}", soft_wrap=True
        )
        fitted = fit(self.cfg, self.data, self.folder / "teacher", self._module(network), epochs)
        finish(fitted.loggers)
        self.fitted["teacher"] = fitted
        record = {
            "class_names": list(self.data.class_names),
            "epochs": fitted.epochs,
            "sha256": sha256_of(fitted.network),
            "val_accuracy": self.accuracy_on_validation(fitted.network),
        }
        kept.keep(save_network(fitted.network, self.data), record)
        return fitted.network

    def _recipe(self) -> dict[str, Any]:
        """Return everything the teacher's weights depend on, as plain values."""
        cfg = OmegaConf.to_container(self.cfg, resolve=True)
        assert isinstance(cfg, dict)
        training = ("optimizer", "scheduler", "label_smoothing")
        return {
            "model": cfg["module"]["teacher"],
            "data": {key: value for key, value in cfg["data"].items() if key != "root"},
            "fingerprint": self.data.fingerprint,
            "training": {key: cfg["module"][key] for key in training},
            "trainer": {key: v for key, v in cfg["trainer"].items() if key != "max_epochs"},
            "epochs": cfg["teacher"]["epochs"],
            "seed": cfg["seed"],
            "select": cfg["select"],
        }

    def train(self, name: str, teacher: nn.Module | None) -> None:
        """Train a student, with a teacher or alone."""
        self._seed()
        module = self._module(instantiate(self.cfg.module.student), teacher)
        fitted = fit(self.cfg, self.data, self.folder / name, module)
        self.fitted[name] = fitted
        if name != "student":  # the student's loggers still get the table
            finish(fitted.loggers)

    def _module(self, student: nn.Module, teacher: nn.Module | None = None) -> DistillationModule:
        networks: dict[str, Any] = {"student": student, "teacher": teacher}
        if teacher is None:
            networks |= {"heads": None, "alpha": None, "task_weight": None}
        node = OmegaConf.masked_copy(
            self.cfg.module, [str(key) for key in self.cfg.module if key not in networks]
        )
        node._set_parent(self.cfg)
        return instantiate(node, **networks)

    def _seed(self) -> None:
        pl.seed_everything(self.cfg.seed, workers=True, verbose=False)

    def accuracy_on_validation(self, network: nn.Module) -> float:
        """Return a network's accuracy on the validation split."""
        return metrics.accuracy(*predict(network, self.data.val_dataloader(), self.device))


def is_trained(teacher: DictConfig) -> bool:
    """Return whether a teacher's weights know the task: a file, or ImageNet's for 1,000 classes.

    With other classes, torchvision's and timm's weights come with a fresh classifier.
    """
    weights = str(teacher.get("weights") or "")
    return bool(weights) and (is_path(weights) or teacher.get("num_classes") == 1000)
