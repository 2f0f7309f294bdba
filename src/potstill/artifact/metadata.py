"""Metadata of an artifact: the data its network was trained on, and its provenance."""

from pathlib import Path
from typing import Any

import torch

from potstill.config.schema import Config
from potstill.data.datamodule import ImageData
from potstill.tasks.base import Task


def facts(data: ImageData, task: Task) -> dict[str, Any]:
    """Return what a user of a network must know: its outputs, and what its images look like."""
    crop = getattr(data, "centre_crop", None)
    side = data.image_size
    return {
        **task.facts(data),
        "mean": list(data.mean),
        "std": list(data.std),
        "image_shape": list(data.image_shape),
        "preprocess": {
            "resize": round(side / crop.ratio) if crop else side,  # of the shorter side
            "crop": side,
            "interpolation": "bilinear",
            "channels": "RGB",
            "layout": "NCHW",
        },
    }


def source(cfg: Config, data: ImageData, folder: Path) -> dict[str, Any]:
    """Return where an artifact comes from; without a date, so that equal runs are equal files."""
    return {
        "experiment": cfg.name,
        "stage": folder.name,
        "seed": cfg.seed,
        "data": data.fingerprint,
        "torch": torch.__version__,
    }
