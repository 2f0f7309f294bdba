"""State of Lightning's loops at a step's end, for exact resumption.

A checkpoint after a batch that validation follows is taken before it. Lightning would hold that
validation (and the epoch's end) for done; here it is made when the run goes on.
"""

from dataclasses import asdict
from typing import Any

import lightning.pytorch as pl


def validation_follows(trainer: pl.Trainer) -> bool:
    """Return whether the batch just trained is one after which the fit validates."""
    loop = trainer.fit_loop
    progress, fetcher = asdict(loop.epoch_progress.current), loop._data_fetcher
    inside = progress["ready"] == progress["started"] == progress["processed"] + 1
    return inside and fetcher is not None and loop.epoch_loop._should_check_val_fx(fetcher)


def let_validation_follow(state: dict[str, Any]) -> None:
    """Change the fit loop's state to: this batch is done, validation stands before its first.

    What `_EvaluationLoop.update_restart_stage` calls mid-evaluation is a batch begun and not
    processed; counted from zero it is the first.
    """
    batches = state["epoch_loop.batch_progress"]
    for part in ("total", "current"):
        batches[part]["completed"] = batches[part]["processed"]
    none = {"ready": 0, "started": 0, "processed": 0, "completed": 0}
    state["epoch_loop.val_loop.batch_progress"] = {
        "total": none | {"ready": 1, "started": 1},
        "current": dict(none),
        "is_last_batch": False,
    }
