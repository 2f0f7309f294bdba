"""The command line: every mistake is found before torch is imported, and is one line."""

import argparse
import errno
import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from potstill.config.compose import VERSION_BASE, Command, configs
from potstill.config.validate import validate
from potstill.distributed import environment
from potstill.distributed.jobs import in_processes
from potstill.errors import ConfigError, PotstillError
from potstill.pipeline.run_folder import check_folder

CONFIG_NAME = "train"
INTERRUPTED = 130
STORAGE = 5
# conf/hydra/default.yaml sends it to the file only.
_tracebacks = logging.getLogger("potstill.traceback")


def main(config_dir: Path) -> int:
    """Check the command in `sys.argv`, run it through Hydra, and return the exit code.

    Flags that only print, such as --help and --cfg, go straight to Hydra.
    """
    try:
        args = _parse(sys.argv[1:])
        command = _command(args, config_dir.resolve())
        if not _only_prints(args):
            check(command)
            _join_others(command)
        codes: list[int] | None = [] if command.is_sweep else None
        task = guarded(in_processes(_run, command), codes)
        hydra.main(str(command.config_dir), CONFIG_NAME, version_base=VERSION_BASE)(task)()
        if command.is_sweep:
            _report_sweep()
    except PotstillError as error:
        return _print(error, error.exit_code)
    except KeyboardInterrupt:
        return _print("interrupted", INTERRUPTED)
    return max(codes or [0])


def check(command: Command) -> None:
    """Raise at the first mistake in any config that `command` will run; write nothing.

    Raises:
        ConfigError: if a setting is unknown, malformed or impossible.
        StorageError: if the run's folder cannot be written.
    """
    for number, cfg in enumerate(configs(command)):
        validate(cfg)
        if number == 0 and environment.rank() == 0 and not environment.is_started():
            check_folder(cfg, command.is_sweep)


def guarded(
    run: Callable[[DictConfig], Any], codes: list[int] | None = None
) -> Callable[[DictConfig], Any]:
    """Return `run` with every error made one line on stderr, its traceback in the log file.

    An error ends the process with its exit code; with `codes` given (a sweep) the code is put
    there instead, so that the other jobs go on. In a launcher's worker process, which shares
    no memory with this one, the error itself is raised.
    """
    owner = os.getpid()

    @functools.wraps(run)
    def task(cfg: DictConfig) -> Any:
        try:
            return run(cfg)
        except KeyboardInterrupt:
            raise SystemExit(_print("interrupted", INTERRUPTED)) from None
        except Exception as error:
            code = _report(error)
            if os.getpid() != owner:
                raise
            if codes is None:
                raise SystemExit(code) from None
            codes.append(code)
            return None

    return task


def _join_others(command: Command) -> None:
    """Where this is one process of several, take its own place in the run's folder."""
    extra = environment.overrides(command.overrides, command.is_sweep)
    argv, given = sys.argv, command.overrides
    # Beside the other overrides: argparse takes them from one place only.
    place = len(argv) - argv[::-1].index(given[-1]) if given else len(argv)
    argv[place:place] = extra
    environment.end_with_parent()


_sweep_folders: list[Path] = []  # of the jobs that ran in this process


def _run(cfg: DictConfig) -> Any:
    from potstill.pipeline.run import run  # torch and lightning take seconds to import

    if HydraConfig.get().mode is RunMode.MULTIRUN:
        _sweep_folders.append(Path(HydraConfig.get().sweep.dir))
    return run(cfg)


def _report_sweep() -> None:
    """Write the page over a sweep's jobs; with jobs elsewhere, `python -m potstill.report` will."""
    if not _sweep_folders or not list(_sweep_folders[0].glob("*/report.json")):
        return
    from potstill.report.sweep import write_sweep

    print("sweep    ", write_sweep(_sweep_folders[0]))


def _report(error: Exception) -> int:
    """Print `error` as one line, log its traceback, and return the exit code."""
    log = _log_file()
    if log is not None:
        _tracebacks.error("%s", error, exc_info=error)
    if isinstance(error, PotstillError):
        return _print(error, error.exit_code)
    full = _disk_full(error)
    if full is not None:
        place = full.filename or "disk"
        return _print(f"{place}: {full.strerror}. Fix: free space, or another folder", STORAGE)
    if log is None:
        traceback.print_exception(error)
    where = f"traceback in {log}" if log is not None else "traceback above"
    return _print(f"{type(error).__name__}: {error} ({where})", 1)


def _print(error: object, code: int) -> int:
    """Print one line, or have the process that started this one print it; return the code."""
    line = " ".join(str(error).split())
    if not environment.leave_error(line, code):
        print("error:", line, file=sys.stderr, flush=True)
    return code


def _log_file() -> str | None:
    handlers = [*_tracebacks.handlers, *logging.getLogger().handlers]
    files = [handler for handler in handlers if isinstance(handler, logging.FileHandler)]
    return os.path.relpath(files[0].baseFilename) if files else None


def _disk_full(error: BaseException | None) -> OSError | None:
    seen: list[BaseException] = []  # a chain may turn back on itself
    while error is not None and error not in seen:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return error
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None


def _parse(argv: list[str]) -> argparse.Namespace:
    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}. Fix: key=value without dashes, flags such as -m first")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    args = parser.parse_args(argv)
    if args.experimental_rerun is not None:
        raise ConfigError(
            f"--experimental-rerun={args.experimental_rerun}: would run code from a pickle. "
            "Fix: the overrides in .hydra/overrides.yaml"
        )
    return args


def _command(args: argparse.Namespace, config_dir: Path) -> Command:
    if args.config_path is not None and not Path(args.config_path).is_absolute():
        raise ConfigError(f"--config-path={args.config_path}: is relative. Fix: an absolute path")
    folder = Path(args.config_path or config_dir)
    more = Path(args.config_dir).resolve() if args.config_dir else None
    for given in (folder, more):
        if given is not None and not given.is_dir():
            raise ConfigError(f"config folder {given}: does not exist. Fix: a folder of YAML files")
    return Command(
        config_dir=folder,
        config_name=args.config_name or CONFIG_NAME,
        overrides=tuple(args.overrides),
        is_sweep=args.multirun or "hydra.mode=MULTIRUN" in args.overrides,
        more_dirs=(more,) if more is not None else (),
    )


def _only_prints(args: argparse.Namespace) -> bool:
    return bool(args.help or args.hydra_help or args.cfg or args.info or args.shell_completion)
