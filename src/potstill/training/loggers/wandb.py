"""W&B logger that never stops a run: online where possible, offline otherwise."""

import netrc
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from lightning.pytorch.loggers import WandbLogger

from potstill.config.ranges import Ranges
from potstill.libraries.lightning import wandb_arguments

RANGES: Ranges = {"project": "not empty", "entity": "not empty"}


def wandb_logger(
    save_dir: str | Path,
    name: str,
    group: str,
    project: str = "potstill",
    entity: str | None = None,
    tags: Sequence[str] = (),
    offline: bool | None = None,
) -> WandbLogger:
    """Return a W&B logger; with `offline=None` it is online only with a key and a network.

    The runs of one command share a `group`; an offline run is uploaded later by `wandb sync`.
    """
    import wandb

    # Its messages about git and accounts are nothing to act on here, and come before `silent`.
    os.environ.setdefault("WANDB_SILENT", "true")
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    if offline is None:
        offline = not can_reach_wandb()
    logger = WandbLogger(
        name=name,
        group=group,
        save_dir=str(save_dir),
        project=project,
        entity=entity,
        tags=list(tags),
        offline=offline,
        settings=wandb.Settings(
            mode="offline" if offline else "online",
            silent=True,
            console="off",
            x_disable_meta=True,
            reinit="create_new",  # a student's run stays open while others train
        ),
    )
    wandb_arguments(logger).pop("anonymous", None)  # W&B warns of it, though it is not set
    return logger


def can_reach_wandb(timeout: float = 2.0) -> bool:
    """Return whether there is a key and the server responds within `timeout` seconds."""
    import wandb

    address = urlparse(str(wandb.Settings().base_url))
    if not (os.environ.get("WANDB_API_KEY") or _in_netrc(address.hostname)):
        return False
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout).close()
    except OSError:
        return False
    return True


def _in_netrc(host: str | None) -> bool:
    try:
        return host in netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return False


def log_summary(loggers: Sequence[Any], rows: list[dict[str, Any]], folder: Path) -> None:
    """Put the final table and a run's confusion matrix on W&B, where W&B is among the loggers."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            columns = list(rows[0])
            logger.log_table("table", columns, [[row[c] for c in columns] for row in rows])
            if (folder / "confusion.png").is_file():
                logger.log_image("confusion", [str(folder / "confusion.png")])


def finish(loggers: Sequence[Any]) -> None:
    """End what W&B records of a fit."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()
