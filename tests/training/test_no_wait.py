"""A step never waits for a GPU: on torch's "meta" device nothing can be read back."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from potstill.data.loaders.in_memory import ArrayLoader, Images, Normalize
from potstill.data.loaders.views import Viewing
from potstill.data.transforms.crop_flip import Augment
from potstill.data.transforms.mixup import Mix
from potstill.data.transforms.pipeline import Distort
from potstill.heads import crd, mgd
from potstill.training.step_metrics import EpochSums
from tests.support.head_pairs import (
    BATCH,
    CLASSES,
    HEADS,
    PAIRS,
    PIXELS,
    fit,
    make_head,
    make_module,
)

META = torch.device("meta")
SETTINGS = {(name, "vit-cnn"): {"teacher": "pooled"} for name in ("simkd", "srrl")}


class NoWaiting(TorchDispatchMode):
    """Refuses copies between devices for which the host would wait."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function.overloadpacket is torch.ops.aten._to_copy:
            there = kwargs.get("device") or args[0].device
            waits = there.type != args[0].device.type and not kwargs.get("non_blocking")
            assert not waits, f"{args[0].device} to {there}: the host waits"
        return function(*args, **kwargs)


@pytest.fixture
def device(monkeypatch):
    """The meta device with what a GPU has besides: autocast and generators."""
    asked = torch.is_autocast_enabled
    off = lambda *device: False if device == ("meta",) else asked(*device)  # noqa: E731
    monkeypatch.setattr(torch, "is_autocast_enabled", off)
    for module in (crd, mgd):
        monkeypatch.setattr(module, "counted_generator", lambda *_: None)
    return META


def batch(views):
    image = tuple(torch.randn(BATCH, 3, PIXELS, PIXELS, device=META) for _ in range(views))
    target = torch.zeros(BATCH, dtype=torch.int64, device=META)
    return image[0] if views == 1 else image, target, torch.arange(BATCH, device=META)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("name", HEADS)
def test_a_step_with_a_head(name, pair, device):
    head = make_head(name, **SETTINGS.get((name, pair), {}))
    module = make_module(pair, {name: head})
    fit(module, 2, head.num_views)  # the first step may fit something to the images
    module.to(device)
    module.teacher.to(device)
    module.on_train_epoch_start()
    optimizer = module.optimizer([p for p in module.parameters() if p.requires_grad])
    with NoWaiting():
        for step in (1, 2):
            loss = module.training_step(batch(head.num_views), step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def test_reading_a_number_would_be_seen(device):
    with pytest.raises(RuntimeError, match="cannot be called on meta tensors"):
        EpochSums().add({"loss": torch.zeros((), device=device)}).sum().item()
    with pytest.raises(AssertionError, match="the host waits"), NoWaiting():
        torch.zeros(2).to(device)


@pytest.mark.parametrize(
    ("distort", "mix"),
    [
        (None, None),
        (None, Mix(0, CLASSES, mixup=0.2, cutmix=1.0)),
        (Distort(0, color_jitter=(0.4, 0.4, 0.4, 0.1), randaugment=(2, 9), cutout=4), None),
    ],
    ids=["crop and flip", "mixup and CutMix", "all else"],
)
def test_batches_from_arrays(distort, mix, device):
    images = torch.zeros(4 * BATCH, 3, PIXELS, PIXELS, dtype=torch.uint8, device=device)
    photos = Images(images, torch.zeros(4 * BATCH, dtype=torch.int64, device=device))
    viewing = Viewing(Augment(0, 2, flip=True, distort=distort), mix=mix, count=2)
    loader = ArrayLoader(photos, BATCH, viewing, Normalize((0.5,) * 3, (0.5,) * 3, device))
    with NoWaiting():
        for image, target, sample_id in loader:
            assert {part.device for part in (*image, target, sample_id)} == {META}
