"""Kinds of callables in a config: the place of a `_target_` decides which may stand there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Node = dict[str, Any]

_MODULE = "torch.nn.modules.module.Module"
_WEIGHTS = "potstill.pruning.weights.criteria."
_CALLBACK = "lightning.pytorch.callbacks.callback.Callback"


@dataclass(frozen=True)
class Kind:
    """What may stand at a place of the config.

    Attributes:
        what: in words, for messages.
        bases: where the classes are defined that it must descend from; empty for any class.
        homes: beginnings of dotted names, of potstill's and of libraries' own of this kind.
        functions: those of the homes whose functions may be called, if they return the kind.
        takes: an argument that potstill's own functions must take to be of the kind.
        parts: the kinds of what stands under it, by key; `*` for every other key.
        then: settings of every node of the kind, beside what it calls takes: each names a function
            of (what was made, the value) that returns what is used.
        given: arguments that whoever builds it gives.
        is_partial: it is called later, with more arguments.
        fix: what else would do, for messages.
    """

    what: str
    bases: tuple[str, ...] = ()
    homes: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    takes: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    then: Mapping[str, str] = field(default_factory=dict)
    fix: str = ""
    given: tuple[str, ...] = ()
    is_partial: bool = False

    @property
    def with_article(self) -> str:
        """What it is, as the object of a sentence."""
        return f"an {self.what}" if self.what[0] in "aeiou" else f"a {self.what}"


_OF_HEADS = {"temperature": "schedule", "weight": "schedule", "head": "head", "*": "part"}
_OF_TRAINERS = {"profiler": "profiler", "strategy": "strategy"}
_SCHEDULES = "potstill.heads.common.schedules."
_MODELS = ("potstill.models.", "torchvision.models.", "potstill.artifact.file.load_network")

KINDS = {
    "head": Kind("head", ("potstill.heads.base.Head",), ("potstill.heads.",), parts=_OF_HEADS),
    "model": Kind(
        "model",
        (_MODULE,),
        (*_MODELS[:2], "torch.nn.", *_MODELS[2:], "potstill.teacher.ensemble."),
        functions=_MODELS,
        takes="num_classes",
        parts={"*": "model"},
        then={"output": "potstill.models.features.logits_alone.select_at"},
    ),
    "module": Kind(
        "training module",
        ("potstill.training.module.DistillationModule",),
        ("potstill.training.module.",),
    ),
    "optimizer": Kind(
        "optimizer",
        ("torch.optim.optimizer.Optimizer",),
        ("torch.optim.",),
        is_partial=True,
    ),
    "scheduler": Kind(
        "learning-rate schedule",
        ("torch.optim.lr_scheduler.LRScheduler",),
        ("potstill.training.schedules.", "torch.optim.lr_scheduler."),
        functions=("potstill.training.schedules.",),
        is_partial=True,
    ),
    "schedule": Kind("schedule of a value", homes=(_SCHEDULES,)),
    "data": Kind(
        "data module",
        ("potstill.data.datamodule.ImageData",),
        ("potstill.data.",),
        parts={"train": "dataset", "val": "dataset", "test": "dataset", "*": "part"},
        fix="; a Dataset as data.train of data=dataset",
    ),
    "dataset": Kind(
        "map-style Dataset", ("torch.utils.data.dataset.Dataset",), parts={"*": "part"}
    ),
    "callback": Kind(
        "callback",
        (_CALLBACK,),
        ("potstill.", "lightning.pytorch.callbacks."),
        parts={"criterion": "criterion", "*": "part"},
    ),
    "criterion": Kind(
        "criterion",
        ("potstill.pruning.channels.criteria.base.Criterion", _WEIGHTS + "base.Criterion"),
        homes=("potstill.pruning.channels.criteria.", _WEIGHTS),
    ),
    "stage": Kind(
        "stage",
        ("potstill.pipeline.stages.base.Stage",),
        ("potstill.pipeline.stages.",),
        parts={"criterion": "criterion", "*": "part"},
    ),
    "task": Kind("task", ("potstill.tasks.base.Task",), ("potstill.tasks.",)),
    "exporter": Kind("exporter", ("potstill.export.base.Exporter",), ("potstill.export.",)),
    "logger": Kind(
        "logger",
        ("lightning.pytorch.loggers.logger.Logger",),
        ("potstill.training.loggers.", "lightning.pytorch.loggers."),
        functions=("potstill.training.loggers.",),
        given=("save_dir", "name", "group"),
    ),
    "trainer": Kind(
        "Trainer",
        ("lightning.pytorch.trainer.trainer.Trainer",),
        ("lightning.pytorch.",),
        parts=_OF_TRAINERS,
    ),
    "profiler": Kind(
        "profiler",
        ("lightning.pytorch.profilers.profiler.Profiler",),
        ("lightning.pytorch.profilers.",),
    ),
    "strategy": Kind(
        "strategy",
        ("lightning.pytorch.strategies.strategy.Strategy",),
        ("lightning.pytorch.strategies.",),
    ),
    # Of Hydra's own nodes; potstill has none of the kind, so only a plugin's will do.
    "hydra_callback": Kind("callback of Hydra", ("hydra.experimental.callback.Callback",)),
    # What stands under something else: a layer, a transform, a schedule.
    "part": Kind(
        "part", homes=("torch.nn.", "torchvision.transforms.", _SCHEDULES), parts={"*": "part"}
    ),
}

# For a node whose place is not known: one of them.
ANYTHING = Kind("thing that a config may call")

PLACES = {
    "task": "task",
    "data": "data",
    "module": "module",
    "module.student": "model",
    "module.teacher": "model",
    "module.heads.*": "head",
    "module.optimizer": "optimizer",
    "module.scheduler": "scheduler",
    "temperature": "schedule",
    "callbacks.*": "callback",
    "logger.*": "logger",
    "export.*": "exporter",
    "trainer": "trainer",
    "stages.*.callbacks.*": "callback",
    "stages.*.transforms.*": "stage",
    "hydra.callbacks.*": "hydra_callback",
}


def kind_at(keys: Sequence[str]) -> Kind | None:
    """Return what may stand at a place, by the keys that lead to it; None: nothing is called."""
    if keys[:1] == ("stages",) and keys[2:3] in (("module",), ("trainer",)):
        keys = keys[2:]  # settings of the run that differ in a stage
    for length in range(len(keys), 0, -1):
        if (kind := _place(keys[:length])) is not None:
            return _inside(kind, keys[length:])
    return None


def _place(keys: Sequence[str]) -> Kind | None:
    for place, kind in PLACES.items():
        wanted = place.split(".")
        if len(wanted) == len(keys) and all(
            one in ("*", key) for one, key in zip(wanted, keys, strict=True)
        ):
            return KINDS[kind]
    return None


def _inside(kind: Kind, keys: Sequence[str]) -> Kind | None:
    """Return the kind of what stands under a node of `kind`, by the keys that lead to it."""
    for key in keys:
        if key.isdecimal():  # an item of a list
            continue
        name = kind.parts.get(key) or kind.parts.get("*")
        if name is None:
            return None
        kind = KINDS[name]
    return kind


def nodes(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Node]]:
    """Yield (keys, node) of everything that has a `_target_`, inside lists too."""
    if isinstance(value, dict) and "_target_" in value:
        yield keys, value
    for key, inner in children(value):
        yield from nodes(inner, (*keys, str(key)))


def children(value: Any) -> list[tuple[Any, Any]]:
    """Return (key, value) of what a mapping or a list holds."""
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []
