"""The networks of one run: built, rehearsed, and trained one after another."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import nn

from potstill.artifact.file import Artifact, artifact_bytes, read_artifact
from potstill.artifact.legacy import with_module_paths
from potstill.artifact.metadata import facts, source
from potstill.artifact.spec import ModelSpec
from potstill.config.instantiate import instantiate
from potstill.config.names import by_name
from potstill.config.stage_settings import links
from potstill.data.datamodule import ImageData
from potstill.distributed import collectives
from potstill.libraries.hydra import put_under
from potstill.models.weights import is_path
from potstill.pipeline.fit import TrainedModel, choose_kernels, fit
from potstill.pipeline.teacher_cache import check_teacher_cache, folded_copy, open_teacher_cache
from potstill.tasks.base import Task, check_task
from potstill.teacher.cache.cached_teacher import CachedTeacher
from potstill.teacher.folded import FoldedTeacher
from potstill.teacher.frozen import sha256_of
from potstill.teacher.registry import RegisteredTeacher, check_classes
from potstill.training import schedules
from potstill.training.checkpoints.identity import counts
from potstill.training.loggers.wandb import finish
from potstill.training.module import DistillationModule
from potstill.training.predict import predict
from potstill.training.trainer import make_trainer

# Teachers kept before there was any other have its settings in their hash, and no name of it.
FIRST_TASK = "potstill.tasks.classification.Classification"


def make_task(cfg: DictConfig, data: ImageData) -> Task:
    """Return the task of a run.

    Raises:
        ConfigError: if it is none, or the data or a setting does not go with it.
    """
    task = check_task(instantiate(cfg.task))
    task.check_data(data)
    task.scoring.need_accuracy("teacher.accuracy", cfg.teacher.accuracy)
    task.scoring.need_accuracy("budget.accuracy_drop", (cfg.budget or {}).get("accuracy_drop"))
    return task


class Experiment:
    """A teacher, a student distilled from it, and the same student alone.

    Attributes:
        fitted: what has been trained or read so far, by name.
        links: the stages after distillation.
        folded: a faster copy of the teacher that runs in its place, or None.
        stored: the teacher's outputs as they are kept, or None.
        task: what the networks' outputs mean.
        stages: what each network went through, by name, in the order of the table.
        distils: whether there are heads, and so a teacher.
        device: where networks are trained and tested.
    """

    def __init__(self, cfg: DictConfig, data: ImageData, folder: Path, console: Console) -> None:
        self.cfg, self.data, self.folder, self.console = cfg, data, folder, console
        self.task = make_task(cfg, data)
        self.device = make_trainer(cfg, None, 1).strategy.root_device
        self.distils = bool(cfg.module.get("heads"))
        self.fitted: dict[str, TrainedModel] = {}
        self.folded: FoldedTeacher | None = None
        self.cached: CachedTeacher | None = None
        self._served: set[str] = set()
        self.links = links(cfg)
        student = "distil" if self.distils else "train"
        self.stages = {"teacher": "teacher", "baseline": "baseline", "student": student}
        self.stages |= {link.name: link.what for link in self.links}

    def rehearse(self) -> tuple[DistillationModule, nn.Module | None]:
        """Build everything once and train nothing: what is wrong shows before the first step.

        Returns the module that would be trained first, and the teacher as built.
        """
        self.seed()
        teacher = instantiate(self.cfg.module.teacher) if self.distils else None
        weights = Path(self.cfg.module.teacher.get("weights") or "") if self.distils else Path()
        if weights.is_file():
            check_classes(weights, self.data.class_names)
        module = self.module(instantiate(self.cfg.module.student), teacher)
        module.prepare(self.data.train_targets)
        schedules.rehearse(module.scheduler, "trainer.max_epochs", self.cfg.trainer.max_epochs)
        if teacher is not None:
            check_teacher_cache(self.cfg, self.data, module)
            if not is_trained(self.cfg.module.teacher):
                schedules.rehearse(module.scheduler, "teacher.epochs", self.cfg.teacher.epochs)
        choose_kernels(self.cfg, self.device, self.data, module, self.cfg.trainer.max_epochs)
        return module, teacher

    def teacher(self) -> nn.Module:
        """Return the teacher: from the weights given, from an earlier run, or trained now."""
        network = self._fresh_teacher()
        if not self.cfg.teacher.epochs or is_trained(self.cfg.module.teacher):
            self.fitted["teacher"] = TrainedModel(network, self.folder / "teacher", 0)
            return network
        kept = self._kept()
        if not collectives.broadcast(kept.exists):
            return self._new_teacher(network, kept)
        record = kept.load(network, self.data.class_names)
        self.console.print(f"teacher   kept from an earlier run in {kept.folder}", soft_wrap=True)
        self.fitted["teacher"] = TrainedModel(network, kept.folder, record["epochs"])
        return network

    def meet(self, teacher: nn.Module) -> None:
        """Fold the teacher, cache its outputs, and replay those that are cached already."""
        module = self.module(instantiate(self.cfg.module.student), teacher)
        module.prepare(self.data.train_targets)
        module.folded = self.folded = folded_copy(self.cfg, self.data, module, self.device)
        if self.folded is not None:
            self.console.print(
                f"teacher   runs in {self.folded.arithmetic}: its logits move by "
                f"{self.folded.difference:.1g} of the largest",
                soft_wrap=True,
            )
        self.cached = open_teacher_cache(self.cfg, self.data, module, self.console)
        self._served = set(module.teacher_layers)

    def _fresh_teacher(self) -> nn.Module:
        """Build the teacher anew: the rehearsal has frozen its own."""
        self.seed()
        return instantiate(self.cfg.module.teacher)

    def _new_teacher(self, network: nn.Module, kept: RegisteredTeacher) -> nn.Module:
        epochs = self.cfg.teacher.epochs
        self.console.print(
            f"teacher   trained first, {epochs} epochs; kept in {kept.folder}", soft_wrap=True
        )
        spec, folder = spec_of(self.cfg.module.teacher), self.folder / "teacher"
        fitted = fit(self.cfg, self.data, folder, self.module(network), epochs, spec)
        finish(fitted.loggers)
        self.fitted["teacher"] = fitted
        record = {
            "class_names": list(self.data.class_names),
            "epochs": fitted.epochs,
            "sha256": sha256_of(fitted.network),
            self.task.scoring.val: self.score_on_validation(fitted.network),
        }
        artifact = Artifact(spec, facts(self.data, self.task), source(self.cfg, self.data, folder))
        if collectives.is_first():
            kept.save(artifact_bytes(fitted.network, artifact), record)
        return fitted.network

    def _kept(self) -> RegisteredTeacher:
        """Return where a teacher of these settings is kept: where an older version did, if so."""
        store, settings = self.cfg.teacher.store_dir, by_name(self._teacher_settings())
        old = RegisteredTeacher(store, with_module_paths(settings))
        return old if old.exists else RegisteredTeacher(store, settings)

    def _teacher_settings(self) -> dict[str, Any]:
        """Return everything the teacher's weights depend on, as plain values."""
        cfg = OmegaConf.to_container(self.cfg, resolve=True)
        assert isinstance(cfg, dict)
        training = ("optimizer", "scheduler")
        task = {key: value for key, value in cfg["task"].items() if key != "_target_"}
        if cfg["task"]["_target_"] != FIRST_TASK:
            task = {"task": cfg["task"]}
        return {
            "model": cfg["module"]["teacher"],
            # Whether the same images come from a folder or from shards, the fingerprint says.
            "data": _counting(cfg, "data", without="_target_"),
            "fingerprint": self.data.fingerprint,
            "training": {key: cfg["module"][key] for key in training} | task,
            "trainer": _counting(cfg, "trainer", without="max_epochs"),
            "kernels": {key: cfg[key] for key in ("channels_last", "compile")},
            "epochs": cfg["teacher"]["epochs"],
            "seed": cfg["seed"],
            "select": cfg["select"],
        }

    def train(self, name: str, teacher: nn.Module | None) -> None:
        """Train a student, with a teacher or alone."""
        self.seed()
        node = self.cfg.module.student
        module = self.module(instantiate(node), teacher)
        fitted = fit(self.cfg, self.data, self.folder / name, module, spec=spec_of(node))
        self.fitted[name] = fitted
        if name != "student":  # the student's loggers still get the table
            finish(fitted.loggers)

    def module(
        self, student: nn.Module, teacher: nn.Module | None = None, cfg: DictConfig | None = None
    ) -> DistillationModule:
        """Return the module that trains `student`, with `cfg` in place of the run's config."""
        cfg = self.cfg if cfg is None else cfg
        networks: dict[str, Any] = {"student": student, "teacher": teacher}
        networks |= {"task": instantiate(cfg.task), "label_smoothing": 0.0}  # the task's by now
        if teacher is None:
            networks |= {"heads": None, "alpha": None, "task_weight": None}
        node = OmegaConf.masked_copy(
            cfg.module, [str(key) for key in cfg.module if key not in networks]
        )
        put_under(node, cfg)
        made: DistillationModule = instantiate(node, **networks)
        if teacher is not None and set(made.teacher_layers) <= self._served:
            made.folded, made.cached = self.folded, self.cached
        return made

    def seed(self) -> None:
        """Start every source of random numbers anew."""
        pl.seed_everything(self.cfg.seed, workers=True, verbose=False)

    def score_on_validation(self, network: nn.Module) -> float:
        """Return a network's main score on the validation split."""
        return self.task.score(*predict(network, self.data.val_dataloader(), self.device))


def _counting(cfg: Mapping[Any, Any], group: str, without: str) -> dict[str, Any]:
    """Return a group's settings that change what is learned; null is as good as left out."""
    return {
        key: value
        for key, value in cfg[group].items()
        if key != without and value is not None and counts(f"{group}.{key}")
    }


def is_trained(teacher: DictConfig) -> bool:
    """Return whether a teacher's weights know the task: a file, or ImageNet's for 1,000 classes.

    With other classes, torchvision's and timm's weights come with a fresh classifier.
    """
    weights = str(teacher.get("weights") or "")
    return bool(weights) and (is_path(weights) or teacher.get("num_classes") == 1000)


def spec_of(node: DictConfig) -> ModelSpec | None:
    """Return how a network of the config is built again; None where only its config can."""
    plain: Any = OmegaConf.to_container(node, resolve=True)
    if plain["_target_"] == "potstill.artifact.file.load_network":
        return read_artifact(plain["path"]).spec
    return ModelSpec.of(plain)
