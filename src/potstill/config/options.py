"""Options of a config folder for --help, each with its file's first comment."""

from collections.abc import Iterable
from pathlib import Path

SENTENCES = {
    "callbacks": "what happens around training",
    "criterion": "which channels are pruned first",
    "data": "what to learn from",
    "experiment": "a whole study in one file",
    "export": "what is written for deployment",
    "head": "what the student learns from the teacher: head@module.heads=[a,b]",
    "logger": "where metrics go",
    "model": "the networks: model@module.student=..., model@module.teacher=...",
    "optimizer": "how weights move: optimizer@module.optimizer=...",
    "scheduler": "how the learning rate moves: scheduler@module.scheduler=...",
    "stage": "what follows distillation: +stage@stages.NAME=...",
    "task": "what the outputs of a network mean: loss, scores, agreement",
    "trainer": "devices, epochs, precision",
    "weight_criterion": "which single weights are pruned first",
}


def options(folders: Iterable[str | Path], group: str) -> list[str]:
    """Return the names of the options of `group` over all config folders, sorted."""
    return sorted({file.stem for folder in folders for file in _files(Path(folder, group))})


def groups(folders: Iterable[str | Path]) -> list[str]:
    """Return the names of the groups over all config folders, sorted; Hydra's own left out."""
    found = {file.parent.name for folder in folders for file in Path(folder).glob("*/*.yaml")}
    return sorted(found - {"hydra"})


def sentence(file: Path) -> str:
    """Return the first comment of a config file that is no Hydra directive, or nothing."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return ""
        text = line.lstrip("# ")
        if text and not text.startswith("@package"):
            return text
    return ""


def list_options(folders: Iterable[str | Path]) -> str:
    """Return every group and its options, a line each."""
    paths = [Path(folder) for folder in folders]
    lines = []
    for group in groups(paths):
        lines.append(f"{group}: {SENTENCES[group]}" if group in SENTENCES else group)
        for folder in paths:
            for file in sorted(_files(folder / group)):
                lines.append(f"  {file.stem:<24} {sentence(file)}".rstrip())
    return "\n".join(lines)


def _files(folder: Path) -> list[Path]:
    # A name with an underscore before it is for other options' defaults lists.
    return [file for file in folder.glob("*.yaml") if not file.stem.startswith("_")]
