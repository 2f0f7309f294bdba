"""Choice of the training loop: the fast one, or Lightning's own."""

import logging
from functools import cache

import lightning
import lightning.pytorch as pl

from potstill.errors import ConfigError
from potstill.libraries.lightning import LOOP
from potstill.libraries.private import missing

log = logging.getLogger("potstill")


def use_loop(trainer: pl.Trainer, setting: str = "auto") -> pl.Trainer:
    """Give `trainer`, before its fit, the loop that `setting` names; return it.

    Both give the same bits and leave callbacks and module as they were.

    Args:
        trainer: of any callbacks, loggers and modules.
        setting: "fast", "lightning", or "auto": fast where this version of Lightning has all the
            private names that it overrides, else Lightning's, with a line in the log.

    Raises:
        ConfigError: for "fast" where it has not.
    """
    if setting == "lightning":
        return trainer
    if gone := missing(LOOP):
        reason = f"Lightning {lightning.__version__} has no {', '.join(gone)}"
        if setting == "fast":
            raise ConfigError(f"loop=fast: {reason}. Fix: loop=auto or loop=lightning")
        _warn_once(f"loop=auto: {reason}; trains with Lightning's own loop")
        return trainer
    from potstill.training.fast_loop import install  # imports those names

    return install(trainer)


@cache
def _warn_once(line: str) -> None:
    log.warning(line)
