"""Run folders: whether a run may write there, checked before it starts."""

import tempfile
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from potstill.errors import ConfigError, StorageError

_MARKS = (".hydra/config.yaml", "multirun.yaml", "report.json", "checkpoints")


def check_folder(cfg: DictConfig, is_sweep: bool) -> None:
    """Raise unless the run's folder can be written and holds a run exactly if `resume`.

    Raises:
        StorageError: if it cannot be written.
        ConfigError: if it holds a run and `resume` is false, or the other way round.
    """
    key = "hydra.sweep.dir" if is_sweep else "hydra.run.dir"
    folder = run_folder(cfg, is_sweep)
    check_writable(folder, key)
    holds_run = any((folder / mark).exists() for mark in _MARKS)
    if holds_run and not cfg.resume:
        raise ConfigError(f"{key}={folder}: holds a run already. Fix: resume=true or another {key}")
    if cfg.resume and not holds_run:
        raise ConfigError(f"resume=true: {folder} holds no run. Fix: {key}=FOLDER of one")


def run_folder(cfg: DictConfig, is_sweep: bool) -> Path:
    """Return the folder of a run, or of a sweep.

    Raises:
        ConfigError: if its name refers to a setting that is not there.
    """
    key = "hydra.sweep.dir" if is_sweep else "hydra.run.dir"
    node, _, name = key.rpartition(".")
    given = OmegaConf.to_container(OmegaConf.select(cfg, node))[name]  # type: ignore[index, call-overload]
    try:
        found = str(OmegaConf.select(cfg, key))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"{key}={given}: {reason}. Fix: a folder without a $ before a {{"
        ) from error
    if "${" in found:  # Hydra would look for a setting of that name
        raise ConfigError(f"{key}={found}: Hydra reads a setting there. Fix: no $ before a {{")
    return Path(found)


def check_writable(folder: Path, key: str) -> None:
    """Raise unless `folder` can be made and written; nothing is left on disk.

    Raises:
        StorageError: naming the path in the way.
    """
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if _is(path))
    if not existing.is_dir():
        raise StorageError(f"{key}={folder}: {existing} is a file. Fix: another {key}")
    try:
        # os.access grants root on file systems that then refuse.
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise StorageError(
            f"{key}={folder}: cannot write to {existing} ({error.strerror}). Fix: another {key}"
        ) from error


def _is(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # its parent may not be entered: that is the folder to name
        return False
