"""State of Lightning's loops at a step's end, for exact resumption.

A checkpoint after a batch that validation follows is taken before it. Lightning would hold that
validation (and the epoch's end) for done; here it is made when the run goes on.
"""

from dataclasses import asdict
from typing import Any

import lightning.pytorch as pl

from potstill.libraries.lightning import validation_is_due


def validation_follows(trainer: pl.Trainer) -> bool:
    """Return whether the batch just trained is one after which the fit validates."""
    progress = asdict(trainer.fit_loop.epoch_progress.current)
    inside = progress["ready"] == progress["started"] == progress["processed"] + 1
    return inside and validation_is_due(trainer)


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
