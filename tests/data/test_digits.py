"""The digits against scikit-learn's own."""

import pytest
import torch
from sklearn.datasets import load_digits
from torchvision.transforms.v2 import functional as TF

from potstill.data.digits import Digits
from potstill.errors import ConfigError


@pytest.fixture(scope="module")
def digits():
    data = Digits(image_size=16, batch_size=32)
    data.setup()
    return data


def whole(loader):
    return [torch.cat(column) for column in zip(*loader, strict=True)]


def test_the_images_are_scikit_learns(digits):
    grey, labels = load_digits(return_X_y=True)
    bytes_ = torch.from_numpy(grey).view(-1, 1, 8, 8) * 255 / 16
    large = TF.resize(bytes_.float(), [16, 16], antialias=False).round()
    known = {}
    for image, label in zip(large, labels, strict=True):
        known[tuple(image.flatten().int().tolist())] = label
    seen = 0
    for loader in (digits.val_dataloader(), digits.test_dataloader()):
        images, targets, _ = whole(loader)
        assert torch.equal(images[:, 0], images[:, 2])
        for image, target in zip(images[:, 0], targets.tolist(), strict=True):
            assert known[tuple((image * 127.5 + 127.5).round().flatten().int().tolist())] == target
            seen += 1
    assert seen == 540


def test_the_splits_have_their_sizes_and_every_digit(digits):
    assert digits.num_train == 1257
    for loader, size in ((digits.val_dataloader(), 180), (digits.test_dataloader(), 360)):
        targets = whole(loader)[1]
        assert len(targets) == size
        assert (targets.bincount() - size / 10).abs().max() <= 2


def test_split_seed_moves_validation_and_never_the_test_set(digits):
    other = Digits(image_size=16, split_seed=1, seed=5)
    other.setup()
    assert torch.equal(whole(other.test_dataloader())[0], whole(digits.test_dataloader())[0])
    assert not torch.equal(whole(other.val_dataloader())[0], whole(digits.val_dataloader())[0])


def test_the_contract(digits):
    assert digits.class_names == tuple("0123456789")
    assert digits.image_shape == (3, 16, 16)
    image, target, sample_id = next(iter(digits.train_dataloader()))
    assert image.shape == (32, 3, 16, 16)
    assert torch.equal(target, digits.train_targets[sample_id])


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match=r"data.flip=true"):
        Digits(flip=True)
    with pytest.raises(ConfigError, match=r"data.num_classes=7"):
        Digits(num_classes=7)
    with pytest.raises(ConfigError, match=r"data.color_jitter=\[0.4,0.3,0,0\]"):
        Digits(color_jitter=[0.4, 0.3, 0.2, 0.0])
    assert Digits(color_jitter=[0.4, 0.3, 0.0, 0.0]).distort is not None
