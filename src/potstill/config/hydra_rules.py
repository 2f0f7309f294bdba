"""Rules for Hydra's own node: the settings that a file may give it, and their values."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.types import RunMode

OUTPUTS = Path("outputs")


@dataclass(frozen=True)
class May:
    """A setting that a file may give.

    Attributes:
        keys: under `hydra`, dotted; `*` is any one key, `**` any number of them.
        holds: whether it may have a value, resolved; the second argument is the run's folder.
        wanted: in words, for messages.
    """

    keys: str
    holds: Callable[[Any, Path], bool]
    wanted: str


def rule_for(keys: Sequence[str]) -> May | None:
    """Return what a file may say at a place under `hydra`; None where it may say nothing.

    >>> rule_for(["run", "dir"]).wanted
    'a folder in outputs'
    >>> rule_for(["job", "env_set", "PYTHONPATH"])
    """
    return next((rule for rule in RULES if _match(rule.keys.split("."), keys)), None)


def is_below(path: str | Path, folder: Path) -> bool:
    """Return whether a path is a folder, or in it, by its name alone and without any `..`.

    >>> is_below("outputs/runs", Path("outputs")), is_below("outputs/../x", Path("outputs"))
    (True, False)
    """
    absolute = Path(os.path.abspath(path))
    return ".." not in Path(path).parts and absolute.is_relative_to(os.path.abspath(folder))


def _match(pattern: list[str], keys: Sequence[str]) -> bool:
    if pattern[:1] == ["**"]:
        return True
    if not pattern or not keys:
        return not pattern and not keys
    return pattern[0] in ("*", keys[0]) and _match(pattern[1:], keys[1:])


def _anything(value: Any, run: Path) -> bool:
    return True


def _number(value: Any, run: Path) -> bool:
    return value is None or isinstance(value, bool | int | float)


def _outputs(value: Any, run: Path) -> bool:
    return isinstance(value, str) and is_below(value, OUTPUTS) and bool(Path(value).parts[1:])


def _inside(value: Any, run: Path) -> bool:
    """A folder in the run's; null for none."""
    return value is None or (isinstance(value, str) and is_below(run / value, run))


def _name(value: Any, run: Path) -> bool:
    return isinstance(value, int | str) and bool(re.fullmatch(r"\w[\w.-]*", str(value)))


def _text(value: Any, run: Path) -> bool:
    """A text that Python's logging takes as it is: it would look up those with a scheme."""
    return not (isinstance(value, str) and re.match(r"[a-z]+://", value))


def _one_of(*values: Any) -> Callable[[Any, Path], bool]:
    return lambda value, run: value in values


def _file(value: Any, run: Path) -> bool:
    return isinstance(value, str) and is_below(value, run)


_CORE = "hydra._internal.core_plugins.basic_"
_HANDLERS = tuple(f"logging.{name}" for name in ("StreamHandler", "FileHandler", "NullHandler"))
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
_OPTIONS = ("level", "formatter", "mode", "encoding", "delay")
_LOGGERS = ("root", "loggers.*")
_PLAIN = "plain text"
_LOGGING = (
    ("version", _text, _PLAIN),
    ("disable_existing_loggers", _text, _PLAIN),
    ("root", _text, _PLAIN),
    *((f"{logger}.level", _text, _PLAIN) for logger in _LOGGERS),
    *((f"{logger}.handlers.*", _text, _PLAIN) for logger in _LOGGERS),
    ("loggers.*.propagate", _text, _PLAIN),
    ("formatters.*.format", _text, _PLAIN),
    ("formatters.*.datefmt", _text, _PLAIN),
    ("formatters.*.style", _text, _PLAIN),
    ("formatters.*.class", _one_of("logging.Formatter"), "logging.Formatter"),
    ("handlers.*.class", _one_of(*_HANDLERS), ", ".join(_HANDLERS)),
    ("handlers.*.stream", _one_of(*_STREAMS), ", ".join(_STREAMS)),
    ("handlers.*.filename", _file, "a file in the run's folder, ${hydra.runtime.output_dir}"),
    *((f"handlers.*.{key}", _text, _PLAIN) for key in _OPTIONS),
)
RULES = (
    May("run.dir", _outputs, "a folder in outputs"),
    May("sweep.dir", _outputs, "a folder in outputs"),
    May("sweep.subdir", _inside, "a folder in the sweep's"),
    May("output_subdir", _inside, "a folder in the run's"),
    May("mode", _one_of(None, RunMode.RUN), "left to the flag -m"),
    May("verbose.**", _anything, "a logger"),
    May("searchpath.**", _anything, "folders"),  # see config/searchpath.py
    May("help.**", _anything, "text"),
    May("hydra_help.**", _anything, "text"),
    May("job.name", _name, "a name"),
    May("job.chdir", _anything, "true or false"),
    May("job.config.override_dirname.**", _text, "text"),
    # What Hydra writes itself, over whatever a file says.
    May("job.num", _anything, "a number"),
    May("job.id", _name, "a name"),
    May("job.config_name", _anything, "a name"),
    May("job.override_dirname", _anything, "text"),
    May("runtime.output_dir", lambda value, run: value == str(run), "left to Hydra"),
    May("runtime.**", _anything, "left to Hydra"),
    May("overrides.**", _anything, "left to Hydra"),
    May("callbacks.**", _anything, "of its kind"),  # see config/kinds.py
    May("launcher._target_", _one_of(f"{_CORE}launcher.BasicLauncher"), "hydra/launcher=NAME"),
    May("launcher.**", _number, "a number"),
    May("sweeper._target_", _one_of(f"{_CORE}sweeper.BasicSweeper"), "hydra/sweeper=NAME"),
    May("sweeper.direction.**", _one_of("minimize", "maximize"), "minimize or maximize"),
    May("sweeper.study_name", _name, "a name"),
    May("sweeper.params.*", _anything, "values"),
    May("sweeper.**", _number, "a number"),
    *(
        May(f"{node}.{keys}", holds, wanted)
        for node in ("job_logging", "hydra_logging")
        for keys, holds, wanted in _LOGGING
    ),
)
