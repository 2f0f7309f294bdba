"""Cache of the teacher's outputs of a run: `teacher.store`."""

import time
from collections.abc import Mapping
from typing import Any

import torch

from potstill.config.schema import Config, TeacherSettings
from potstill.data.datamodule import ImageData
from potstill.distributed import collectives
from potstill.models.features.extractor import FeatureExtractor
from potstill.pipeline.context import RunContext
from potstill.teacher.cache.cached_teacher import CachedTeacher
from potstill.teacher.cache.manifest import CacheManifest
from potstill.teacher.cache.open import check_mode, open_store, summarize, uncacheable
from potstill.teacher.cache.verify import verify
from potstill.teacher.folded import FoldedTeacher, fold_teacher
from potstill.training.module import DistillationModule
from potstill.training.precision import half_of

IMAGES = 16  # to time the teacher, and to measure the difference of its folded copy
HALF_TOLERANCE = 0.05


@torch.no_grad()
def folded_copy(run: RunContext, module: DistillationModule) -> FoldedTeacher | None:
    """Return a faster copy of the teacher, equal to it within `teacher.rounding`.

    None where the heads need the teacher's own layers, or `teacher.rounding` is 0.
    """
    assert module.teacher is not None
    rounding = run.cfg.teacher.rounding
    if not rounding or uncacheable(module.teacher_layers) or _moves(run.cfg):
        return None
    image, *_ = next(iter(run.data.val_dataloader()))
    teacher, image = module.teacher.network.to(run.device), image[:IMAGES].to(run.device)
    folded = fold_teacher(teacher, image, half_of(run.precision, run.device), rounding)
    teacher.cpu()
    folded.network.cpu()
    return folded


def check_teacher_cache(run: RunContext, module: DistillationModule) -> None:
    """Raise where `teacher.store` wants a store and there can be none, before any training.

    Raises:
        ConfigError: saying why not.
    """
    check_mode(run.cfg.teacher.store, _uncacheable_reason(run, module.teacher_layers))


def open_teacher_cache(run: RunContext, module: DistillationModule) -> CachedTeacher | None:
    """Return the store's teacher for a run, checked against the real one; None for none.

    A line on its console tells how full the store is and what it will cost.

    Args:
        run: with data after its setup.
        module: student, teacher and heads, prepared.

    Raises:
        ConfigError: if the mode wants a store where there can be none.
        DataError: if a store is another run's, damaged, or not what the teacher gives.
    """
    assert module.teacher is not None
    layers, settings, data = module.teacher_layers, run.cfg.teacher, run.data
    reason = _uncacheable_reason(run, layers)
    if reason and settings.store == "auto":
        run.console.print(f"teacher   runs at every step, nothing cached: {reason}", soft_wrap=True)
    network = module.folded.network if module.folded else module.teacher.network
    extractor = FeatureExtractor(network, layers if not reason else (), data.image_shape)
    manifest = None if reason else _manifest(settings, data, module, extractor)
    # What an attempt of this run has cached already is what it goes on with.
    mode = "auto" if settings.store == "refresh" and run.cfg.resume else settings.store
    with collectives.first_goes_ahead():
        store = open_store(mode, settings.store_dir, manifest, reason)
    if store is None:
        return None
    seconds, epochs = _seconds(extractor, data), run.cfg.trainer.max_epochs
    run.console.print(f"teacher   {summarize(store, seconds, epochs=epochs)}", soft_wrap=True)
    verify(store, extractor, data.view_images)
    return CachedTeacher(store, data.view_index)


def _uncacheable_reason(run: RunContext, layers: tuple[str, ...]) -> str:
    """Return why a store cannot serve this run; empty where it can."""
    if run.data.num_views is None:
        return "no two epochs show the same view of an image (data.view_cycle=K makes them)"
    if missing := uncacheable(layers):
        return f"a head reads {', '.join(missing)}, and a store holds logits and pooled"
    return "the teacher moves with the student" if _moves(run.cfg) else ""


def _moves(cfg: Config) -> bool:
    callbacks: Mapping[str, Any] = cfg.callbacks or {}
    return any(node is not None and "EMATeacher" in node._target_ for node in callbacks.values())


def _manifest(
    settings: TeacherSettings,
    data: ImageData,
    module: DistillationModule,
    extractor: FeatureExtractor,
) -> CacheManifest:
    assert module.teacher is not None
    pooled, folded = extractor.probe().features.get("pooled"), module.folded
    return CacheManifest(
        teacher=module.teacher.sha256,
        dataset=data.fingerprint,
        augmentation=data.viewing.identity,
        image_size=data.image_size,
        mean=tuple(data.mean),
        std=tuple(data.std),
        seed=None if data.view_cycle is None else data.seed,
        num_samples=data.num_train,
        num_views=data.num_views or 0,
        num_classes=module.num_outputs,
        precision=settings.precision,
        top_k=settings.top_k,
        dim_pooled=0 if pooled is None else pooled.flatten(1).shape[1],
        arithmetic=folded.arithmetic if folded else "float32",
        # A batch of another size is rounded otherwise, and half precision rounds coarsely.
        tolerance=HALF_TOLERANCE if folded and folded.is_half else CacheManifest.tolerance,
        difference=folded.difference if folded else 0.0,
    )


@torch.no_grad()
def _seconds(extractor: FeatureExtractor, data: ImageData) -> float:
    """Return how long the teacher takes for an image, on the CPU it is still on."""
    sample_id = torch.arange(min(IMAGES, data.num_train))
    images = data.view_images(sample_id, torch.zeros_like(sample_id))
    start = time.perf_counter()
    extractor(images, sample_id)
    return (time.perf_counter() - start) / len(sample_id)
