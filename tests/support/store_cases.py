"""A manifest, and rows with values that say where they belong."""

from dataclasses import replace

import torch

from potstill.teacher.cache.encoding import CachedOutputs
from potstill.teacher.cache.manifest import CacheManifest
from potstill.teacher.cache.store import TeacherStore

MANIFEST = CacheManifest(
    teacher="a" * 64,
    dataset="d" * 64,
    augmentation="Augment(crop_padding=1, flip=True)",
    image_size=16,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    seed=None,
    num_samples=50,
    num_views=18,
    num_classes=5,
)
STALE = {
    "teacher": "b" * 64,
    "dataset": "e" * 64,
    "augmentation": "Augment(crop_padding=2, flip=True)",
    "image_size": 32,
    "mean": (0.4, 0.5, 0.5),
    "std": (0.2, 0.25, 0.25),
    "seed": 1,
    "num_views": 50,
    "precision": "float32",
    "top_k": 2,
    "dim_pooled": 4,
    "arithmetic": "bf16-mixed",
}


def manifest(**changes):
    return replace(MANIFEST, **changes)


def logits_of(sample_id, view):
    """Return logits (N, 5), exact in half precision, different for every (sample, view)."""
    classes = torch.arange(5)
    return (sample_id[:, None] + 0.125 * classes) * (1 - 2 * (view[:, None] % 2)) + view[:, None]


def outputs_of(sample_id, view):
    return CachedOutputs(logits_of(sample_id, view).float())


def open_new(folder, **changes):
    wanted = manifest(**changes)
    wanted.write(folder)
    return TeacherStore(folder, wanted)
