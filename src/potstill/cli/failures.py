"""Errors of a command: one line on stderr, the traceback in the log file, an exit code."""

import errno
import functools
import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig

from potstill.distributed import environment
from potstill.errors import PotstillError

INTERRUPTED = 130
STORAGE = 5
# No space, over a quota, over the size a file may have, and mounted for reading.
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# conf/hydra/default.yaml sends it to the file only.
_tracebacks = logging.getLogger("potstill.traceback")


def guarded(
    run: Callable[[DictConfig], Any], codes: list[int] | None = None
) -> Callable[[DictConfig], Any]:
    """Return `run` with every error made one line on stderr, its traceback in the log file.

    An error ends the process with its exit code; with `codes` given (a sweep) the code is put
    there instead, so that the other jobs go on. In a launcher's worker process, which shares
    no memory with this one, the error itself is raised.
    """
    owner = os.getpid()
    # A log that cannot be written, on a full disk for one, would be dozens of lines of its own.
    logging.raiseExceptions = False

    @functools.wraps(run)
    def task(cfg: DictConfig) -> Any:
        try:
            return run(cfg)
        except KeyboardInterrupt:
            raise SystemExit(print_error("interrupted", INTERRUPTED)) from None
        except Exception as error:
            code = _report(error)
            if os.getpid() != owner:
                raise
            if codes is None:
                raise SystemExit(code) from None
            codes.append(code)
            return None

    return task


def print_error(error: object, code: int) -> int:
    """Print one line, or have the process that started this one print it; return the code."""
    line = " ".join(str(error).split())
    if not environment.leave_error(line, code):
        print("error:", line, file=sys.stderr, flush=True)
    return code


def _report(error: Exception) -> int:
    """Print `error` as one line, log its traceback, and return the exit code."""
    log = _log_file()
    if log is not None:
        _tracebacks.error("%s", error, exc_info=error)
    if isinstance(error, PotstillError):
        return print_error(error, error.exit_code)
    full = _disk_full(error)
    if full is not None:
        place = full.filename or "disk"
        line = f"{place}: {full.strerror}. Fix: free space, or another folder, and resume=true"
        return print_error(line, STORAGE)
    if log is None:
        traceback.print_exception(error)
    where = f"traceback in {log}" if log is not None else "traceback above"
    return print_error(f"{type(error).__name__}: {error} ({where})", 1)


def _log_file() -> str | None:
    handlers = [*_tracebacks.handlers, *logging.getLogger().handlers]
    files = [handler for handler in handlers if isinstance(handler, logging.FileHandler)]
    return os.path.relpath(files[0].baseFilename) if files else None


def _disk_full(error: BaseException | None) -> OSError | None:
    seen: list[BaseException] = []  # a chain may turn back on itself
    while error is not None and error not in seen:
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            return error
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None
