"""Predictions of exported files on a test set, each in its own engine."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from potstill.benchmark.corruptions import corrupt
from potstill.benchmark.open_file import Opened
from potstill.config.compose import Command, configs
from potstill.config.validate import instantiate, validate
from potstill.errors import ConfigError, PotstillError

Batch = tuple[Tensor, Tensor, Tensor]  # image (N, C, H, W), target (N,), sample_id (N,)
PREFIX = "data."


def load_data(name: str, settings: Iterable[str], config_dir: Path) -> Any:
    """Return the data module of `conf/data/NAME.yaml` with `data.key=value` settings, set up.

    Raises:
        ConfigError: if there is no such option or setting.
        DataError: if the data cannot be read.
    """
    if not (config_dir / "data").is_dir():
        raise ConfigError(
            f"--config-dir={config_dir}: holds no data options. Fix: potstill's conf folder"
        )
    for line in settings:
        if not line.startswith(PREFIX) or "=" not in line:
            raise ConfigError(f"--set={line}: sets nothing of the data. Fix: --set data.KEY=VALUE")
    [cfg] = configs(Command(config_dir.resolve(), overrides=(f"data={name}", *settings)))
    validate(cfg)
    data = instantiate(cfg.data)
    data.setup("test")
    return data


def check_fits(opened: Opened, data: Any) -> None:
    """Raise ConfigError if a file was made for other images or classes than these."""
    names = opened.facts.get("class_names")
    wanted = {
        "image_size": (opened.image_shape[-1], data.image_size),
        "num_classes": (len(names) if names else data.num_classes, data.num_classes),
        "mean": (_rounded(opened.facts.get("mean", data.mean)), _rounded(data.mean)),
        "std": (_rounded(opened.facts.get("std", data.std)), _rounded(data.std)),
    }
    for key, (theirs, ours) in wanted.items():
        if theirs != ours:
            raise ConfigError(
                f"{opened.path}: was made for {key}={theirs}, the data has {ours}. "
                f"Fix: other data, or --set data.{key}={str(theirs).replace(' ', '')}"
            )


def predict(
    files: Mapping[int, Opened], batches: Iterable[Batch]
) -> tuple[dict[int, Tensor], Tensor]:
    """Return (the logits (M, K) of each file, targets (M,)); every batch goes to all files."""
    logits: dict[int, list[Tensor]] = {name: [] for name in files}
    targets = []
    for image, target, _ in batches:
        for name, opened in files.items():
            logits[name].append(_logits(opened, image))
        targets.append(target.cpu())
    return {name: torch.cat(found) for name, found in logits.items()}, torch.cat(targets)


def _logits(opened: Opened, image: Tensor) -> Tensor:
    try:
        return opened.logits(image).float()
    except PotstillError:
        raise
    except Exception as error:  # the engines' own exceptions share no class
        raise opened.refuses(image, error, "a file for any number of them") from error


def corrupted(data: Any, name: str, severity: int) -> Iterator[Batch]:
    """Yield the test batches of `data` with their images corrupted before normalisation."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (data.mean, data.std))
    for image, target, sample_id in data.test_dataloader():
        # Bytes once more: they were bytes before they were normalised.
        images = ((image.cpu() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        rows = images.permute(0, 2, 3, 1).contiguous().numpy()
        done = torch.from_numpy(corrupt(rows, name, np.asarray(sample_id.cpu()), severity))
        yield data.normalize(done.permute(0, 3, 1, 2)), target, sample_id


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), 4) for value in values]
