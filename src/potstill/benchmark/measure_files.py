"""Measurements of every file that a command names."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from potstill.benchmark.evaluate import HeldOut, check_fits, fill_in, load_test
from potstill.benchmark.memory import peak_bytes
from potstill.benchmark.open_file import Opened, open_file, runtime_of
from potstill.benchmark.tables import Measured
from potstill.config.location import conf_folder
from potstill.errors import DataError
from potstill.export.formats import exporter_for
from potstill.measure.counts import (
    count_macs,
    count_nonzeros,
    count_parameters,
    gzip_bytes,
    is_quantized,
)
from potstill.measure.latency import Timing, interleaved, on_threads

log = logging.getLogger("potstill")
CHECKED = 64  # images on which a file written for another engine is checked


@dataclass(frozen=True)
class Settings:
    """What to measure, and how thoroughly.

    Attributes:
        threads: to compute on, each in turn.
        batches: images at once, each in turn.
        rounds: timed calls of each.
        warmup: calls of each before them.
        data: an option of conf/data, for accuracy; None for none.
        task: an option of conf/task, with data.
        overrides: `data.key=value` and `task.key=value` of them.
        config_dir: the folder that holds data/NAME.yaml.
        severity: of corruptions, 1 to 5; None for no corruptions.
        teacher: a file to agree with.
        engines: those that an artifact is measured in.
    """

    threads: tuple[int, ...] = (1,)
    batches: tuple[int, ...] = (1,)
    rounds: int = 50
    warmup: int = 10
    data: str | None = None
    task: str = "classification"
    overrides: tuple[str, ...] = ()
    config_dir: Path = field(default_factory=conf_folder)
    severity: int | None = None
    teacher: Path | None = None
    engines: tuple[str, ...] = ("eager",)


@dataclass(frozen=True)
class FileToMeasure:
    """A row, the file that its engine runs, and the file that was named."""

    row: Measured
    path: Path
    source: Opened


def measure_files(paths: Sequence[Path], settings: Settings, folder: Path) -> list[Measured]:
    """Return a row for each file, and for each engine of an artifact.

    What an artifact becomes in other engines is written to `folder`.

    Raises:
        ConfigError: if a setting is impossible, or the data is not what a file was made for.
        DataError: if a file or the data cannot be read, or an engine refuses an artifact.
    """
    for engine in settings.engines:
        if engine != "eager":
            exporter_for(engine)  # one that is unknown is missed now
    sources = [open_file(path) for path in paths]
    held_out = None
    if settings.data is not None:
        held_out = load_test(settings.data, settings.overrides, settings.config_dir, settings.task)
        for source in sources:
            check_fits(source, held_out.data)
    entries = [
        _entry(source, path, engine)
        for number, source in enumerate(sources)
        for engine, path in _files(source, settings.engines, folder / str(number), held_out)
    ]
    _time(entries, settings)
    if held_out is not None:
        tested = [(entry.row, entry.path) for entry in entries]
        fill_in(tested, held_out, settings.teacher, settings.severity)
    return [entry.row for entry in entries]


def _files(
    source: Opened, engines: Sequence[str], folder: Path, held_out: HeldOut | None
) -> list[tuple[str, Path]]:
    """Return (engine, file to run) of a file; an artifact has one in each engine chosen."""
    if source.engine != "eager":
        return [(source.engine, source.path)]
    found = []
    for engine in engines:
        own = source.path if engine == "eager" else _write(source, engine, folder, held_out)
        found.append((engine, own))
    return found


def _write(source: Opened, engine: str, folder: Path, held_out: HeldOut | None) -> Path:
    """Write an artifact for `engine`; the exporter checks the file on test images, or noise."""
    assert source.network is not None
    folder.mkdir(exist_ok=True)
    task = held_out.task if held_out else None
    if held_out is None:
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(CHECKED, *source.image_shape, generator=generator)
    else:
        images = next(iter(held_out.data.test_dataloader()))[0][:CHECKED]
    exporter, stem = exporter_for(engine)(), folder / "network"
    return exporter(source.network, stem, images, source.facts, task).path


def _entry(source: Opened, path: Path, engine: str) -> FileToMeasure:
    """Return what needs no clock and no data; counts are of the network the file was made from."""
    content = b"".join(file.read_bytes() for file in runtime_of(path).files(path))
    row = Measured(
        name=source.path.name,
        engine=engine,
        size_bytes=len(content),
        gzip_bytes=gzip_bytes(content),
        memory_bytes=peak_bytes(path, source.image_shape),
    )
    if source.network is not None:
        row.num_parameters = count_parameters(source.network)
        row.num_nonzeros = count_nonzeros(source.network)
        row.macs = count_macs(source.network, source.image_shape)
    return FileToMeasure(row, path, source)


def _time(entries: Sequence[FileToMeasure], settings: Settings) -> None:
    for threads in settings.threads:
        # Opened again: ExecuTorch has one pool of threads for the process.
        opened = {number: open_file(entry.path, threads) for number, entry in enumerate(entries)}
        for batch in settings.batches:
            for number, timing in _timings(opened, threads, batch, settings).items():
                entries[number].row.latency[threads, batch] = timing


def _timings(
    opened: Mapping[int, Opened], threads: int, batch: int, settings: Settings
) -> dict[int, Timing]:
    calls = {}
    with on_threads(threads):
        for number, file in opened.items():
            # PyTorch computes int8 by way of floats: that time means nothing.
            if file.network is not None and is_quantized(file.network):
                continue
            try:
                calls[number] = file.bind(torch.zeros(batch, *file.image_shape))
            except DataError as error:
                log.warning("no latency of %s", error)
        return interleaved(calls, settings.rounds, settings.warmup)
