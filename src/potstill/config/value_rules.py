"""Rules for values, by the path of the setting."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from potstill.errors import ConfigError

_MAX_SEED = 2**32 - 1  # numpy's


@dataclass(frozen=True)
class Rule:
    """What the values at the paths matching `pattern` must be; `null` is left to the schema."""

    pattern: str
    holds: Callable[[Any], bool]
    wanted: str
    example: float | str


def _number(low: float, high: float = math.inf, above: bool = False) -> Callable[[Any], bool]:
    def holds(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (low < value if above else low <= value) and value <= high

    return holds


def _integer(low: int, high: float = math.inf) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


SWITCH = ("auto", True, False)
PRECISIONS = ("auto", "32-true", "32", "bf16-mixed", "bf16", "16-mixed", "16")
LOOPS = ("auto", "fast", "lightning")
STORES = ("auto", "off", "read", "refresh")

RULES = (
    Rule("seed", _integer(0, _MAX_SEED), f"an integer from 0 to {_MAX_SEED}", 0),
    Rule("select", lambda value: value in ("last", "best", "ema"), "last, best or ema", "last"),
    Rule("temperature", _number(0, above=True), "a number above 0 or a schedule", 4.0),
    Rule("module.heads.*.temperature", _number(0, above=True), "a number above 0", 4.0),
    Rule("module.heads.*.weight", _number(0), "a number, 0 or more", 1.0),
    Rule("alpha", _number(0, 1), "null or a number from 0 to 1", 0.5),
    Rule("module.alpha", _number(0, 1), "null or a number from 0 to 1", 0.5),
    Rule("module.task_weight", _number(0), "null or a number, 0 or more", 1.0),
    Rule("module.label_smoothing", _number(0, 1), "a number from 0 to 1", 0.1),
    Rule("task.label_smoothing", _number(0, 1), "a number from 0 to 1", 0.1),
    Rule("module.optimizer.lr", _number(0, above=True), "a number above 0", 0.1),
    Rule("module.optimizer.weight_decay", _number(0), "a number, 0 or more", 5e-4),
    Rule("*batch_size", _integer(1), "an integer, 1 or more", 64),
    Rule(
        "trainer.precision",
        lambda value: str(value) in PRECISIONS,
        "auto, 32-true, bf16-mixed or 16-mixed: a network keeps float32 weights",
        "auto",
    ),
    Rule("trainer.max_epochs", _integer(1), "an integer, 1 or more", 10),
    Rule(
        "trainer.limit_train_batches",
        lambda value: _integer(1)(value) or (type(value) is float and 0 < value <= 1),
        "a number of batches, or a share of them above 0",
        0.1,
    ),
    Rule(
        "trainer.enable_checkpointing",
        lambda value: value is True,
        "true (callbacks.checkpoint=null leaves checkpoints out)",
        "true",
    ),
    Rule("teacher.epochs", _integer(0), "an integer, 0 (use it as it is) or more", 20),
    Rule("teacher.store", lambda value: value in STORES, "one of " + ", ".join(STORES), "auto"),
    Rule(
        "teacher.precision",
        lambda value: value in ("float16", "float32"),
        "float16 or float32",
        "float16",
    ),
    Rule("teacher.top_k", _integer(1), "null or an integer, 1 or more", 10),
    Rule("teacher.accuracy", _number(0, 1), "null or a number from 0 to 1", 0.9),
    Rule("teacher.tolerance", _number(0, 1), "a number from 0 to 1", 0.03),
    Rule("teacher.rounding", _number(0, 1), "a number from 0 to 1", 0.02),
    Rule("channels_last", lambda value: value in SWITCH, "auto, true or false", "auto"),
    Rule("compile", lambda value: value in SWITCH, "auto, true or false", "auto"),
    Rule("loop", lambda value: value in LOOPS, "one of " + ", ".join(LOOPS), "auto"),
    Rule("process_timeout", _number(0, above=True), "seconds, above 0", 600.0),
    Rule("threads", _integer(1), "null or an integer, 1 or more", 2),
)


def check_value(path: str, value: Any) -> None:
    """Raise if `value` is NaN or infinite, or breaks the rule for its path.

    Raises:
        ConfigError: with what would do.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path}={value}: must be finite. Fix: an ordinary number")
    for rule in RULES:
        if value is not None and fnmatch(path, rule.pattern) and not rule.holds(value):
            raise ConfigError(
                f"{path}={shorten(value)}: must be {rule.wanted}. Fix: {path}={rule.example}"
            )


def shorten(value: Any) -> str:
    """Return `value` as text that leaves room in an error's line."""
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
