"""Made-up images: what they are made of, and that scikit-learn learns them."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from potstill.data.fake import Fake
from potstill.errors import ConfigError


def whole(loader):
    return [torch.cat(column) for column in zip(*loader, strict=True)]


def test_classes_are_even_and_learnable():
    data = Fake(image_size=8, num_classes=5, train_size=250, test_size=100, val_size=50)
    data.setup()
    assert data.num_train == 200
    assert data.train_targets.bincount().tolist() == [40] * 5
    val, test = whole(data.val_dataloader()), whole(data.test_dataloader())
    model = LogisticRegression(max_iter=200).fit(val[0].flatten(1), val[1])
    assert model.score(test[0].flatten(1), test[1]) > 0.95


def test_noise_hides_the_classes():
    data = Fake(image_size=8, train_size=400, test_size=200, val_size=200, noise=2000.0)
    data.setup()
    val, test = whole(data.val_dataloader()), whole(data.test_dataloader())
    model = LogisticRegression(max_iter=200).fit(val[0].flatten(1), val[1])
    assert model.score(test[0].flatten(1), test[1]) < 0.4


def test_data_seed_makes_the_images_and_seed_does_not():
    def made(**seeds):
        data = Fake(image_size=8, train_size=40, test_size=10, val_size=10, **seeds)
        data.setup()
        return data.fingerprint

    assert made() == made(seed=3)
    assert len({made(), made(data_seed=1), made(split_seed=1)}) == 3


@pytest.mark.parametrize("name", ["train_size", "test_size"])
def test_too_few_images_are_refused(name):
    with pytest.raises(ConfigError, match=f"data.{name}=9"):
        Fake(**{name: 9})
