"""Summary of the composed experiment for a terminal."""

from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from omegaconf import DictConfig, ListConfig
from rich.markup import escape
from rich.table import Table

from potstill.config.schema import Config
from potstill.config.stage_settings import StageConfig
from potstill.pipeline.context import RunContext


def describe(run: RunContext) -> Table:
    """Return what is about to run: networks, data, heads, training, where it goes."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _lines(run).items():
        table.add_row(name, escape(value))
    table.add_row("output", escape(str(_short(run.folder))))
    return table


def _lines(run: RunContext) -> dict[str, str]:
    cfg, module, trainer = run.cfg, run.cfg.module, run.cfg.trainer
    optimizer = module.optimizer
    schedule = _last(module.scheduler) if module.scheduler else "constant"
    return {
        "potstill": cfg.name,
        "teacher": called(module.teacher) if module.get("heads") else "none",
        "student": called(module.student),
        "data": ", ".join(_data(run.data)),
        "loss": loss(cfg),
        "train": f"{trainer.max_epochs} epochs, batches of {cfg.data.batch_size}, "
        f"{_last(optimizer)} lr {optimizer.lr:g}, {schedule}, {trainer.precision}, seed {cfg.seed}",
        **{stage.name: _stage(stage) for stage in run.stages},
    }


def _data(data: Any) -> list[str]:
    classes = [f"{data.num_classes} classes"] if data.num_classes else []
    images = [f"{data.num_train:,} training images", *classes]
    if data.labelled is not None:
        images.insert(1, f"{len(data.labelled):,} of them labelled")
    return [data.dataset_name, *images, f"{data.image_size}x{data.image_size}"]


def _stage(stage: StageConfig) -> str:
    """Return what a stage does, from where, for how long."""
    what = [called(node) for node in (*stage.transforms.values(), *stage.callbacks.values())]
    taught = "with the teacher" if stage.distils else "on labels alone"
    epochs = stage.settings.epochs
    training = f"{epochs} epochs {taught}" if epochs else "no training"
    return f"from {stage.start}: {'; '.join([*what, training])}"


def called(node: DictConfig) -> str:
    """Return a model's name, else its builder, with the settings that tell it apart."""
    name = str(node.get("name") or node.get("model_name") or _last(node))
    common = ("name", "model_name", "num_classes", "image_size", "stem", "_target_")
    given = ((k, v) for k, v in node.items() if k not in common and v is not None and v != [])
    settings = [f"{k!s} {_shown(v)}" for k, v in given]
    return ", ".join([name, *settings])


def loss(cfg: Config) -> str:
    """Return the loss as a sum, each term with its weight."""
    heads = cfg.module.get("heads") or {}
    if not heads:
        return str(resolve_name(cfg.task._target_).loss_name)
    task = 1 - cfg.alpha if cfg.alpha is not None else cfg.module.get("task_weight")
    terms = [f"{1 if task is None else task:g} task"]
    terms += [f"{_weight(head, cfg.alpha)} {_head(name, head)}" for name, head in heads.items()]
    return " + ".join(terms)


def _weight(head: DictConfig, alpha: float | None) -> str:
    kind = resolve_name(head._target_)
    if alpha is not None and kind.kind == "response":
        return f"{alpha:g}"
    return _shown(kind.default_weight if head.get("weight") is None else head.weight)


def _head(name: str, head: DictConfig) -> str:
    temperature = head.get("temperature")
    return name if temperature is None else f"{name} (T={_shown(temperature)})"


def _shown(value: Any) -> str:
    """Return a setting as text; of a schedule, its name."""
    if isinstance(value, DictConfig):
        return _last(value) if "_target_" in value else "..."
    if isinstance(value, ListConfig):
        names = any(isinstance(item, str) for item in value)
        return (" " if names else "x").join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _last(node: DictConfig) -> str:
    return node._target_.rpartition(".")[2]


def _short(folder: Path) -> Path:
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
