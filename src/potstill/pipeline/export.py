"""Export of a run's networks, each file evaluated in its own runtime."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from potstill.artifact.metadata import facts
from potstill.config.instantiate import instantiate
from potstill.config.schema import Config
from potstill.data.loaders.epoch_order import single_process
from potstill.errors import ConfigError, DataError, PotstillError
from potstill.export.base import Exported, Exporter
from potstill.export.bundled.classify import RUNTIMES
from potstill.export.formats import formats
from potstill.export.parity import in_batches
from potstill.integrity.sealed import write_sealed
from potstill.measure.units import percent, scaled
from potstill.pipeline.experiment import Experiment
from potstill.tasks.base import Task
from potstill.tasks.scoring import Scoring
from potstill.training.predict import predict

CHECKED = 64  # validation images an exporter checks its file on
NOT_EXPORTED = ("teacher", "baseline")


def exporters(cfg: Config, task: Task) -> dict[str, Exporter]:
    """Return the exporters of a run by name, those of bundles last.

    Raises:
        ConfigError: if a library is missing, or a format names classes and the task has none.
    """
    found = {str(name): instantiate(node) for name, node in (cfg.export or {}).items()}
    for name, exporter in found.items():
        if exporter.needs_classes and not task.needs_classes:
            raise ConfigError(
                f"export={name}: names classes, and task {task.scoring.task} has none. "
                "Fix: another export"
            )
    return dict(sorted(found.items(), key=lambda item: item[1].bundles))


def export(experiment: Experiment) -> list[dict[str, Any]]:
    """Write every network but teacher and baseline in every format of the config, bundles last.

    A bundle is made of the other formats' files. Returns a record for each file: name, format,
    path, bytes, agreement, max_difference, sqnr_db, runtime, and by its name the task's main score
    over the whole test set in that runtime (None where it has none).
    All of it is in export/exports.json. A network that a format refuses is recorded with its
    `error`, and the others are written all the same.

    Raises:
        DataError: at the end, if any was refused.
    """
    chosen = exporters(experiment.run.cfg, experiment.run.task)
    names = [
        name for name in experiment.stages if name in experiment.fitted and name not in NOT_EXPORTED
    ]
    records = [record for name in names for record in _records(experiment, name, chosen)]
    if records:
        file = experiment.run.folder / "export" / "exports.json"
        write_sealed(file, {"files": records}, indent=2, default=str)
        experiment.run.console.print(_table(records, experiment.run.task.scoring))
    if refused := [record for record in records if record["error"]]:
        first = refused[0]
        raise DataError(
            f"export={first['format']}: {len(refused)} of {len(records)} files refused, first "
            f"{first['name']}: {first['error']}"
        )
    return records


def _records(
    experiment: Experiment, name: str, chosen: dict[str, Exporter]
) -> list[dict[str, Any]]:
    """Return the record of each file of one network."""
    written: list[Exported] = []
    scores: dict[str, float | None] = {}
    records, score = [], experiment.run.task.scoring.main.name
    for key, exporter in chosen.items():
        experiment.run.console.print(f"exporting {name} as {key}")
        write: Callable[..., Exported] = exporter
        if exporter.bundles:
            write = partial(write, files=tuple(written))
        record: dict[str, Any] = {"name": name, "format": key, score: None, "error": None}
        try:
            done = _write(experiment, name, write)
        except PotstillError as error:
            records.append(record | {"error": str(error)})
            continue
        held = (done.path / f"model{suffix}" for suffix in RUNTIMES)
        model = next((file for file in held if file.is_file()), done.path)  # a bundle holds some
        if model.suffix not in scores:
            scores[model.suffix] = _score(experiment, model)
        named = {"path": done.path.name, "beside": list(done.beside)}
        record |= asdict(done) | named | {score: scores[model.suffix]}
        records.append(record)
        written.append(done)
    return records


def _write(experiment: Experiment, name: str, exporter: Callable[..., Exported]) -> Exported:
    with single_process():
        images = next(iter(experiment.run.data.val_dataloader()))[0][:CHECKED]
    folder = experiment.run.folder / "export"
    folder.mkdir(exist_ok=True)
    task = experiment.run.task
    about = facts(experiment.run.data, task)
    return exporter(experiment.fitted[name].network.cpu(), folder / name, images, about, task=task)


def _score(experiment: Experiment, file: Path) -> float | None:
    """Return the main score of a file in its runtime, over the whole test set."""
    if (written := formats().get(file.suffix)) is None:
        return None
    forward = partial(in_batches, written.runtime(file))
    with single_process():
        return experiment.run.task.score(*predict(forward, experiment.run.data.test_dataloader()))


def _table(records: list[dict[str, Any]], scoring: Scoring) -> Table:
    score = scoring.main
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for heading in ("file", "size", score.heading, "agrees", "SQNR", "runtime"):
        table.add_column(heading, justify="left" if heading in ("file", "runtime") else "right")
    for record in records:
        if record["error"]:
            table.add_row(f"{record['name']}, {record['format']}", "", "", "", "", "refused")
            continue
        table.add_row(
            record["path"],
            scaled(record["bytes"], "B"),
            score.show(record[score.name]),
            percent(record["agreement"]),
            f"{record['sqnr_db']:.0f} dB",
            record["runtime"],
        )
    return table
