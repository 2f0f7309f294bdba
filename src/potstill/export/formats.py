"""File formats: the base of their exporters, and the table of those that were defined."""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

import potstill.export
from potstill.config.offers import import_offers
from potstill.config.ranges import Ranges
from potstill.errors import ConfigError
from potstill.export.base import Exported, Exporter, to_export
from potstill.export.parity import Content, keep_verified
from potstill.export.runtimes.base import Runtime
from potstill.models.parametrized import with_plain_weights
from potstill.tasks.base import Task

_BY_SUFFIX: dict[str, type["FileExporter"]] = {}


class FileExporter(Exporter):
    """Writes one file, runs it in its runtime, and keeps it if both give the same outputs.

    A subclass declares its format, and defines `content`. Where it names an engine, its files can
    be opened by their suffix: by `potstill measure`, and for the accuracy of a run's exports.

    Class attributes:
        suffix: of the file, such as ".onnx".
        engine: the name of what runs it in `potstill measure --engines`; empty for none.
        runtime: opens the file, (path, threads).
        min_sqnr_db: how closely it must give the network's logits; None for `parity.least_db`.
        keeps_names: whether parametrized weights stay so, as the network's own state has them.

    Args:
        threads: the check runs on.
    """

    ranges: ClassVar[Ranges] = {"threads": "[1, inf)"}

    suffix: ClassVar[str]
    engine: ClassVar[str] = ""
    runtime: ClassVar[type[Runtime]]
    min_sqnr_db: ClassVar[float | None] = None
    keeps_names: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "engine" in vars(cls):
            _BY_SUFFIX[cls.suffix] = cls

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads

    def content(self, network: nn.Module, images: Tensor, facts: Mapping[str, Any]) -> Content:
        """Return the file of a network in eval mode on the CPU, float or int8.

        A format in several files gives each by its suffix, the file that is opened last.

        Args:
            network: as `to_export` returns it.
            images: (N, C, H, W) on the CPU.
            facts: see `Exporter`.
        """
        raise NotImplementedError

    def load(self, path: Path, network: nn.Module) -> Runtime:
        """Open a file that was just written of `network`."""
        return self.runtime(path, self.threads)

    def __call__(
        self,
        network: nn.Module,
        path_stem: Path,
        images: Tensor,
        facts: Mapping[str, Any],
        task: Task | None = None,
    ) -> Exported:
        """Write `path_stem` with the suffix and check it; see `Exporter`."""
        network, images = to_export(network), images.cpu()
        written = network if self.keeps_names else with_plain_weights(network)
        content = self.content(written, images, facts)
        path = path_stem.with_name(f"{path_stem.name}{self.suffix}")

        def load(file: Path) -> Runtime:
            return self.load(file, network)

        return keep_verified(path, content, load, network, images, self.min_sqnr_db, task)


def formats() -> dict[str, type[FileExporter]]:
    """Return the exporters whose files have an engine, by suffix: ours and those of plugins."""
    _import_own()
    import_offers("exporter")
    return dict(_BY_SUFFIX)


def exporter_for(engine: str) -> type[FileExporter]:
    """Return the exporter that writes for an engine.

    Raises:
        ConfigError: if there is none.
    """
    by_engine = {exporter.engine: exporter for exporter in formats().values()}
    if engine not in by_engine:
        raise ConfigError(
            f"argument --engines: {engine!r} is none of {', '.join(['eager', *by_engine])}. "
            "Fix: one of them"
        )
    return by_engine[engine]


@cache
def _import_own() -> None:
    for module in pkgutil.iter_modules(potstill.export.__path__, "potstill.export."):
        import_module(module.name)
