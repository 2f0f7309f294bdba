"""Networks of one run, trained or read one after another."""

from typing import Any

import lightning.pytorch as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from potstill.artifact.file import Artifact, artifact_bytes, read_artifact
from potstill.artifact.metadata import facts, source
from potstill.artifact.spec import ModelSpec
from potstill.artifact.transforms import SELECT_LOGITS
from potstill.config.instantiate import instantiate
from potstill.distributed import collectives
from potstill.libraries.hydra import put_under
from potstill.measure.counts import is_quantized
from potstill.models.features.logits_alone import LogitsAlone, logits_alone
from potstill.models.plain import check_plain
from potstill.models.weights import is_path
from potstill.pipeline.context import RunContext
from potstill.pipeline.fit import fit
from potstill.pipeline.teacher_cache import folded_copy, open_teacher_cache
from potstill.pipeline.teacher_key import registered_teacher
from potstill.pipeline.trained_model import TrainedModel
from potstill.teacher.cache.cached_teacher import CachedTeacher
from potstill.teacher.ensemble import TeacherEnsemble
from potstill.teacher.folded import FoldedTeacher
from potstill.teacher.frozen import sha256_of
from potstill.teacher.registry import RegisteredTeacher
from potstill.training.loggers.wandb import finish
from potstill.training.module import DistillationModule
from potstill.training.predict import predict


class Experiment:
    """A teacher, a student distilled from it, and the same student alone.

    Attributes:
        run: settings, device, data, folder and console.
        fitted: what has been trained or read so far, by name.
        folded: a faster copy of the teacher that runs in its place, or None.
        cached: the teacher's outputs as they are cached, or None.
        task: what the networks' outputs mean.
        stages: what each network went through, by name, in the order of the table.
        distils: whether there are heads, and so a teacher.
    """

    def __init__(self, run: RunContext) -> None:
        self.run = run
        self.distils = bool(run.cfg.module.get("heads"))
        self.fitted: dict[str, TrainedModel] = {}
        self.folded: FoldedTeacher | None = None
        self.cached: CachedTeacher | None = None
        self._served: set[str] = set()
        student = "distil" if self.distils else "train"
        self.stages = {"teacher": "teacher", "baseline": "baseline", "student": student}
        self.stages |= {stage.name: stage.what for stage in run.stages}

    def teacher(self) -> nn.Module:
        """Return the teacher: from the weights given, from an earlier run, or trained now."""
        run, node = self.run.with_seed(self.run.cfg.teacher.seed), self.run.cfg.module.teacher
        self.seed(run)
        network = self.network("teacher")  # the rehearsal has frozen its own
        if not run.cfg.teacher.epochs or is_trained(node):
            self.fitted["teacher"] = TrainedModel(network, run.folder / "teacher", 0)
            return network
        kept = registered_teacher(run)
        if not collectives.broadcast(kept.exists):
            return self._new_teacher(run, network, kept)
        record = kept.load(network, run.data.class_names)
        line = f"teacher   kept from an earlier run in {kept.folder}"
        run.console.print(line, soft_wrap=True, markup=False)
        self.fitted["teacher"] = TrainedModel(network, kept.folder, record["epochs"])
        return network

    def meet(self, teacher: nn.Module) -> None:
        """Fold the teacher, cache its outputs, and replay those that are cached already."""
        module = self.module(self.network("student"), teacher)
        module.prepare(self.run.data.train_targets)
        module.folded = self.folded = folded_copy(self.run, module)
        if self.folded is not None:
            self.run.console.print(
                f"teacher   runs in {self.folded.arithmetic}: its logits move by "
                f"{self.folded.difference:.1g} of the largest",
                soft_wrap=True,
            )
        self.cached = open_teacher_cache(self.run, module)
        self._served = set(module.teacher_layers)

    def _new_teacher(
        self, run: RunContext, network: nn.Module, kept: RegisteredTeacher
    ) -> nn.Module:
        epochs = run.cfg.teacher.epochs
        run.console.print(
            f"teacher   trained first, {epochs} epochs; kept in {kept.folder}",
            soft_wrap=True,
            markup=False,
        )
        spec, folder = spec_of(run.cfg.module.teacher, network), run.folder / "teacher"
        fitted = fit(run, folder, self.module(network, run=run), epochs, spec, labels="all")
        finish(fitted.loggers)
        self.fitted["teacher"] = fitted
        record = {
            "class_names": list(run.data.class_names),
            "epochs": fitted.epochs,
            "sha256": sha256_of(fitted.network),
            run.task.scoring.val: self.score_on_validation(fitted.network),
        }
        artifact = Artifact(spec, facts(run.data, run.task), source(run.cfg, run.data, folder))
        if collectives.is_first():
            kept.save(artifact_bytes(fitted.network, artifact), record)
        return fitted.network

    def train(self, name: str, teacher: nn.Module | None) -> None:
        """Train a student, with a teacher or alone."""
        self.seed()
        network = self.network("student")
        module = self.module(network, teacher)
        spec = spec_of(self.run.cfg.module.student, network)
        fitted = fit(self.run, self.run.folder / name, module, spec=spec)
        self.fitted[name] = fitted
        if name != "student":  # the student's loggers still get the table
            finish(fitted.loggers)

    def network(self, part: str) -> nn.Module:
        """Return the student or the teacher of the config, which returns logits alone."""
        network: nn.Module = instantiate(self.run.cfg.module[part])
        shape, key = self.run.data.image_shape, f"module.{part}"
        if isinstance(network, TeacherEnsemble):
            for number, member in enumerate(network.members):
                logits_alone(member, shape, self.run.data.num_classes, f"{key}.members.{number}")
        check_plain(network, key, "train")
        return logits_alone(network, shape, self.run.data.num_classes, key)

    def module(
        self, student: nn.Module, teacher: nn.Module | None = None, run: RunContext | None = None
    ) -> DistillationModule:
        """Return the module that trains `student`, with a stage's settings in `run`."""
        cfg: Any = (run or self.run).cfg
        networks: dict[str, Any] = {"student": student, "teacher": teacher}
        networks |= {"task": self.run.task, "label_smoothing": 0.0}  # the task's by now
        if teacher is None:
            networks |= {"heads": None, "alpha": None, "task_weight": None}
        node = OmegaConf.masked_copy(
            cfg.module, [str(key) for key in cfg.module if key not in networks]
        )
        put_under(node, cfg)
        made: DistillationModule = instantiate(node, "module", **networks)
        if teacher is not None and set(made.teacher_layers) <= self._served:
            made.folded, made.cached = self.folded, self.cached
        return made

    def seed(self, run: RunContext | None = None) -> None:
        """Start every source of random numbers again, from the seed of `run` or this one's."""
        pl.seed_everything((run or self.run).cfg.seed, workers=True, verbose=False)

    def device_of(self, network: nn.Module) -> torch.device:
        """Return where a network is tested; integers on the CPU, no kernel of a GPU takes them."""
        return torch.device("cpu") if is_quantized(network) else self.run.device

    def score_on_validation(self, network: nn.Module) -> float:
        """Return a network's main score on the validation split."""
        loader = self.run.data.val_dataloader()
        return self.run.task.score(*predict(network, loader, self.device_of(network)))

    def points_on_validation(self, network: nn.Module) -> float:
        """Return `score_on_validation` as a person counts it, more being better."""
        score = self.run.task.scoring.main
        return score.gain(self.score_on_validation(network), 0.0)


def is_trained(teacher: DictConfig) -> bool:
    """Return whether a teacher's weights know the task: a file, or ImageNet's for 1,000 classes.

    With other classes, torchvision's and timm's weights come with a fresh classifier.
    """
    weights = str(teacher.get("weights") or "")
    return bool(weights) and (is_path(weights) or teacher.get("num_classes") == 1000)


def spec_of(node: DictConfig, network: nn.Module) -> ModelSpec | None:
    """Return how a network of the config is built again; None where only its config can."""
    plain: Any = OmegaConf.to_container(node, resolve=True)
    if plain["_target_"] == "potstill.artifact.file.load_network":
        return read_artifact(plain["path"]).spec
    spec = ModelSpec.of(plain)
    if spec is not None and isinstance(network, LogitsAlone) and "output" not in plain:
        spec = spec.then({"kind": SELECT_LOGITS, "place": network.place})
    return spec
