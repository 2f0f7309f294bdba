"""A deployment folder: the network, its labels, a script that classifies, instructions."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from torch import Tensor, nn

from potstill.atomic import write_atomically
from potstill.export.base import Exported, Exporter, about_file
from potstill.export.bundled.classify import RUNTIMES
from potstill.export.onnx import Onnx
from potstill.integrity.sealed import seal
from potstill.integrity.sums import sums_of, write_sums
from potstill.quantization.convert import is_converted
from potstill.quantization.prepare import is_prepared
from potstill.tasks.base import Task

PARTS = Path(__file__).parent / "bundled"
# The newest of Maven Central, and of the branches of the Swift package.
EXECUTORCH, EXECUTORCH_SWIFT = "1.5.1", "1.5.0"


class Bundle(Exporter):
    """Write a folder that runs on a Raspberry Pi, with nothing of this project installed there.

    It holds `model.onnx`, or other files that `classify.py` runs, `labels.txt`, `preprocess.json`,
    `classify.py`, `SHA256SUMS`, which the script compares, and `README.md`, which also has the
    lines that load a `.pte` on Android and iOS.
    """

    bundles = True
    needs_classes = True

    def __call__(
        self,
        network: nn.Module,
        path_stem: Path,
        images: Tensor,
        facts: Mapping[str, Any],
        task: Task | None = None,
        files: Sequence[Exported] = (),
    ) -> Exported:
        """Write the folder `path_stem`-bundle; see `Exporter`.

        `files` are what was written of this network already; those that the script can run go
        in, and where there is none an ONNX file is written for it.
        """
        path = path_stem.with_name(f"{path_stem.name}-bundle")
        trial = path.with_name(f".{path.name}.{os.getpid()}")
        shutil.rmtree(path, ignore_errors=True)
        try:
            models = sorted(
                (file for file in files if file.path.suffix in RUNTIMES),
                key=lambda file: list(RUNTIMES).index(file.path.suffix),
            )
            models = models or [Onnx()(network, trial / "model", images, facts, task)]
            for model in models:
                for name in (model.path.name, *model.beside):
                    part = model.path.with_name(name)
                    write_atomically(trial / f"model{part.suffix}", part.read_bytes())
            texts = _texts(path, models, facts, is_prepared(network) or is_converted(network))
            for name, text in texts.items():
                write_atomically(trial / name, text)
            sums_of(trial / "model.onnx").unlink(missing_ok=True)
            write_sums(trial)
            os.replace(trial, path)
        finally:
            shutil.rmtree(trial, ignore_errors=True)
        size = sum(file.stat().st_size for file in path.iterdir())
        runtime = " and ".join(model.runtime for model in models)
        return replace(models[0], path=path, bytes=size, runtime=runtime, beside=())


def _texts(
    path: Path, models: Sequence[Exported], facts: Mapping[str, Any], is_int8: bool
) -> dict[str, str]:
    """Return the text files of a bundle by name."""
    about = about_file(facts, is_int8)
    labels = about.pop("class_names")
    return {
        "labels.txt": "\n".join(labels) + "\n",
        "preprocess.json": seal(about, indent=2, ensure_ascii=False) + "\n",
        "classify.py": (PARTS / "classify.py").read_text(encoding="utf-8"),
        "README.md": _readme(path, models, about, len(labels)),
    }


def _readme(
    path: Path, models: Sequence[Exported], about: Mapping[str, Any], num_classes: int
) -> str:
    page = Environment(
        loader=FileSystemLoader(PARTS),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    suffixes = [model.path.suffix for model in models]
    return page.get_template("README.md.j2").render(
        name=path.name.removesuffix("-bundle"),
        folder=path.name,
        models=[_described(model) for model in models],
        light=suffixes != [".pte"],
        pte=".pte" in suffixes,
        num_classes=num_classes,
        executorch=EXECUTORCH,
        swift=EXECUTORCH_SWIFT,
        **{key: about[key] for key in ("mean", "std", "precision")},
        **{key: about["preprocess"][key] for key in ("resize", "crop")},
    )


def _described(model: Exported) -> dict[str, str]:
    """Return a model's row of the table, and what pip installs for it."""
    files = [model.path, *map(Path, model.beside)]
    return {
        "name": f"model{model.path.suffix}",
        "files": ", ".join(f"`model{file.suffix}`" for file in files),
        "runtime": model.runtime,
        "size": f"{model.bytes / 1e3:,.0f} kB",
        "packages": " ".join(RUNTIMES[model.path.suffix]).replace("_", "-"),
    }
