"""Changed settings of a resumed run, which the saved state must not silently undo."""

from typing import Any

from torch.optim.lr_scheduler import LambdaLR

from potstill.errors import ConfigError
from potstill.libraries.torch import set_rates


def drop_saved_settings(checkpoint: dict[str, Any]) -> None:
    """Leave in a checkpoint what was learned and counted, not learning rates and the like.

    Optimizers fill what is missing from their own settings (`named_state`).
    """
    for state in checkpoint["optimizer_states"]:
        state["param_groups"] = [{"params": group["params"]} for group in state["param_groups"]]
    counted = ("last_epoch", "_step_count", "lr_lambdas")
    checkpoint["lr_schedulers"] = [
        {key: state[key] for key in counted if key in state}
        for state in checkpoint["lr_schedulers"]
    ]


def follow_new_schedule(scheduler: Any) -> None:
    """Set the learning rates to what a schedule, with its new settings, gives at its step.

    Raises:
        ConfigError: if its value depends on more than the step.
    """
    if not isinstance(scheduler, LambdaLR):
        raise ConfigError(
            f"resume_allow: a {type(scheduler).__name__} cannot go on with other settings. "
            "Fix: a schedule of potstill.training.schedules, or a new run"
        )
    at = zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
    rates = [base * factor(scheduler.last_epoch) for base, factor in at]
    set_rates(scheduler, rates)
