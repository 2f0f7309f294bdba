"""Batched RandAugment against torchvision's, fed with the same numbers."""

import pytest
import torch
from torchvision.transforms import v2

from potstill.data.transforms.randaugment import OPERATIONS, check_randaugment, randaugment
from potstill.errors import ConfigError

# torchvision's operations in our order.
NAMES = (
    *("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
    *("Brightness", "Color", "Contrast", "Sharpness"),
    *("Identity", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)


@pytest.fixture(scope="module")
def images():
    generator = torch.manual_seed(0)
    coarse = torch.rand(60, 3, 4, 4, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(16, 20), mode="bilinear")
    return (30 + 180 * smooth).to(torch.uint8)


def theirs(monkeypatch, image, magnitude, row):
    """Return torchvision's result where its operations and signs come from `row`."""
    space = v2.RandAugment._AUGMENTATION_SPACE
    assert set(space) == set(NAMES)
    draws = list(zip(row[::2], row[1::2], strict=True))
    chosen = [NAMES[int(u * len(NAMES))] for u, _ in draws]
    signed = [sign for name, (_, sign) in zip(chosen, draws, strict=True) if space[name][1]]
    picks, signs = map(iter, ([list(space).index(name) for name in chosen], signed))
    monkeypatch.setattr(torch, "randint", lambda high, size: torch.tensor(next(picks)))
    monkeypatch.setattr(torch, "rand", lambda size: torch.tensor(next(signs)))
    out = v2.RandAugment(len(chosen), magnitude)(image)
    monkeypatch.undo()
    return out


@pytest.mark.parametrize("magnitude", [0, 9, 30])
@pytest.mark.parametrize("operations", [1, 2, 3])
def test_equals_torchvisions(monkeypatch, images, magnitude, operations):
    uniform = torch.rand(60, 2 * operations, generator=torch.manual_seed(operations))
    before = images.clone()
    got = randaugment(images, magnitude, uniform)
    assert torch.equal(images, before)
    for image, row, out in zip(images, uniform.tolist(), got, strict=True):
        assert torch.equal(out, theirs(monkeypatch, image, magnitude, row))


@pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)
@pytest.mark.parametrize("sign", [0.2, 0.8])
def test_every_operation_at_every_magnitude_equals_torchvisions(monkeypatch, images, number, sign):
    row = [(number + 0.5) / len(NAMES), sign]
    for magnitude in range(31):
        got = randaugment(images[:2], magnitude, torch.tensor([row] * 2))
        for image, out in zip(images[:2], got, strict=True):
            assert torch.equal(out, theirs(monkeypatch, image, magnitude, row))


def test_a_image_is_changed_alike_alone_and_in_a_batch(images):
    uniform = torch.rand(60, 4, generator=torch.manual_seed(5))
    together = randaugment(images, 9, uniform)
    alone = [randaugment(images[i : i + 1], 9, uniform[i : i + 1]) for i in range(60)]
    assert torch.equal(together, torch.cat(alone))


def test_all_operations_can_be_drawn():
    assert len(OPERATIONS) == len(NAMES) == 14
    assert {int(u * 14) for u in (torch.arange(140) / 140).tolist()} == set(range(14))


@pytest.mark.parametrize(
    "settings", [(2,), (0, 9), (2, 31), (2, -1), (2.5, 9), (True, 9), (2, 9, 1)]
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError, match=r"data.randaugment=\["):
        check_randaugment(settings)
