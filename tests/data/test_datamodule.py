"""Every configured data set instantiates with exactly its own keys; shared settings are checked."""

import pytest
import torch
from hydra.utils import instantiate

from potstill.config.compose import Command, configs
from potstill.data.datamodule import ImageData
from potstill.data.fake import Fake
from potstill.data.loaders.views import Viewing
from potstill.data.transforms.mixup import Mix
from potstill.data.transforms.pipeline import Distort
from potstill.errors import ConfigError
from tests.support.places import CONF

# Shards are the folder's settings and more, a Dataset must be given: both have tests of their own.
APART = ("imagenet_shards", "dataset")
OPTIONS = [path for path in sorted((CONF / "data").glob("[!_]*.yaml")) if path.stem not in APART]


def composed(path, **overrides):
    given = [f"++data.{key}={value}" for key, value in overrides.items()]
    [config] = configs(Command(CONF, overrides=(f"data={path.stem}", "seed=3", *given)))
    return config.data


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
def test_every_option_instantiates(path):
    config = composed(path)
    data = instantiate(config)
    assert isinstance(data, ImageData)
    assert data.seed == data.augment.seed == 3
    for name in ("num_classes", "batch_size", "eval_batch_size", "val_size", "views", "drop_last"):
        assert getattr(data, name) == config[name]
    assert data.viewing.count == 1
    assert data.view_cycle is data.distort is data.mix is None
    assert data.image_shape == (3, config.image_size, config.image_size)
    assert (list(data.mean), list(data.std)) == (config["mean"], config["std"])


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
def test_an_unknown_key_is_refused(path):
    with pytest.raises(Exception, match="unexpected keyword argument 'num_clases'"):
        instantiate(composed(path, num_clases=3))


@pytest.mark.parametrize("name", ["batch_size", "eval_batch_size", "val_size", "num_classes"])
def test_sizes_below_one_are_refused(name):
    with pytest.raises(ConfigError, match=f"data.{name}=0"):
        Fake(**{name: 0})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mean": (0.5,)}, r"data.mean=\[0.5\]"),
        ({"std": (0.5, 0.0, 0.5)}, "above 0"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Fake(**settings)


def test_setup_twice_keeps_the_data():
    data = Fake(image_size=8, train_size=40, test_size=10, val_size=10)
    data.setup("fit")
    targets = data.train_targets
    data.setup("test")
    assert data.train_targets is targets


def test_fake_training_covers_what_is_not_held_out():
    data = Fake(image_size=8, train_size=40, test_size=10, val_size=10, batch_size=15)
    data.setup()
    held_out = torch.cat([image for image, _, _ in data.val_dataloader()])
    seen = torch.cat([image for image, _, _ in data.train_dataloader()])
    distances = torch.cdist(seen.flatten(1), held_out.flatten(1))
    assert len(seen) == 30
    assert distances.min() > 0.1  # no image is in both


def test_every_setting_of_the_configuration_reaches_the_augmentation():
    path = next(path for path in OPTIONS if path.stem == "fake")
    settings = {"color_jitter": [0.4, 0.3, 0.2, 0.1], "randaugment": [2, 9], "cutout": 3}
    data = instantiate(composed(path, **settings, mixup=0.2, cutmix=1.0, views=2, view_cycle=4))
    assert data.augment.distort == Distort(3, (0.4, 0.3, 0.2, 0.1), (2, 9), 3)
    assert data.viewing == Viewing(data.augment, Mix(3, 10, 0.2, 1.0), count=2, cycle=4)


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "setting",
    [
        {"color_jitter": 0.4},
        {"randaugment": [2]},
        {"cutout": -1},
        {"mixup": -1.0},
        {"cutmix": -0.5},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_impossible_augmentation_is_refused_by_every_option(path, setting):
    (name,) = setting
    with pytest.raises(Exception, match=f"data.{name}="):
        instantiate(composed(path, **setting))
