"""ImageNet's layout: what is checked before anything is built, and real photographs."""

import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from potstill.data.imagenet import ImageNet
from potstill.errors import ConfigError, DataError
from tests.support.image_folders import CLASSES, make_folder
from tests.support.places import SHARED


def imagenet(root, num_classes=3, **settings):
    options = {"image_size": 16, "val_size": 6, "batch_size": 4, "num_workers": 0} | settings
    return ImageNet(str(root), num_classes=num_classes, **options)


@pytest.fixture
def root(tmp_path):
    return make_folder(tmp_path)


def ids_and_targets(loader):
    return [torch.cat(column).tolist() for column in zip(*(b[1:] for b in loader), strict=True)]


def test_validation_comes_from_train_and_the_val_folder_is_the_test_set(root):
    data = imagenet(root)
    data.prepare_data()
    data.setup()
    assert data.class_names == CLASSES
    assert data.num_train == 18
    assert data.train_targets.bincount().tolist() == [6, 6, 6]
    assert ids_and_targets(data.val_dataloader()) == [[0, 0, 1, 1, 2, 2], list(range(6))]
    assert ids_and_targets(data.test_dataloader()) == [
        [label for label in range(3) for _ in range(4)],
        list(range(12)),
    ]
    image, target, sample_id = next(iter(data.train_dataloader()))
    assert image.shape == (4, *data.image_shape)
    assert torch.equal(target, data.train_targets[sample_id])


def test_given_class_names_set_the_labels(root):
    data = imagenet(root, class_names=["n03", "n01", "n02"])
    data.setup()
    files = data.train_dataloader().files
    folders = [files.path(i).parent.name for i in range(len(files))]
    assert [data.class_names[label] for label in files.targets.tolist()] == folders
    assert folders[0] == "n03"


def test_the_wrong_class_count_says_both_and_what_to_type(root):
    with pytest.raises(DataError, match=r"data.num_classes=1000: .*train holds 3 .*num_classes=3"):
        imagenet(root, num_classes=1000).prepare_data()


@pytest.mark.parametrize("part", ["train", "val"])
def test_missing_folders_are_found_before_training(tmp_path, part):
    make_folder(tmp_path, train=1, val=1)
    (tmp_path / part).rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=f"there is no folder {part}"):
        imagenet(tmp_path).prepare_data()


def test_labels_never_come_from_the_val_folder(root):
    (root / "val" / "n01").rename(root / "val" / "n00")
    with pytest.raises(DataError, match="val/n01 is missing"):
        imagenet(root).prepare_data()


def test_given_class_names_must_be_the_folders(root):
    with pytest.raises(DataError, match="train/n04 is missing"):
        imagenet(root, class_names=["n01", "n02", "n04"]).prepare_data()
    with pytest.raises(DataError, match="train/n03 is none of the 2 classes"):
        imagenet(root, num_classes=2, class_names=["n01", "n02"]).prepare_data()


def test_the_fingerprint_knows_the_files_and_the_split(root):
    def made(**settings):
        data = imagenet(root, **settings)
        data.setup()
        return data.fingerprint

    first = made()
    assert first == made(seed=3, num_workers=1)
    assert len({first, made(split_seed=1), made(image_size=8), made(mean=(0.5, 0.5, 0.5))}) == 4
    Image.new("RGB", (40, 40), "red").save(root / "train" / "n01" / "n01_0.png")
    assert made() != first


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match=r"data.num_workers=-1"):
        imagenet("nowhere", num_workers=-1)
    for prefetch, workers in ((2, 0), (0, 2)):
        with pytest.raises(ConfigError, match=rf"data.prefetch_factor={prefetch}"):
            imagenet("nowhere", num_workers=workers, prefetch_factor=prefetch)


def assert_equals_torchvision(data, count):
    """Compare the first test images with torchvision's ImageFolder and evaluation preset."""
    side = round(data.image_size / 0.875)
    preset = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize(side, antialias=True),
            v2.CenterCrop(data.image_size),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(data.mean, data.std),
        ]
    )
    reference = ImageFolder(data.root / "val", preset)
    image, target, _ = next(iter(data.test_dataloader()))
    for i in range(count):
        torch.testing.assert_close(image[i], reference[i][0], rtol=0, atol=2e-6)
        assert target[i] == reference[i][1]


def test_evaluation_equals_torchvisions_image_folder(root):
    data = imagenet(root)
    data.setup()
    assert_equals_torchvision(data, count=12)


@pytest.mark.skipif(
    not (SHARED / "data" / "imagenette").is_dir(), reason="needs Imagenette in POTSTILL_SHARED"
)
def test_real_photographs_are_read_as_torchvision_reads_them():
    folder = SHARED / "data" / "imagenette"
    data = imagenet(folder, num_classes=10, image_size=64, val_size=100, eval_batch_size=60)
    data.setup()
    assert data.num_train == 1400
    assert_equals_torchvision(data, count=60)
    image, target, _ = next(iter(data.val_dataloader()))
    assert target.bincount().tolist() == [10] * 6
    assert image.mean(dim=(0, 2, 3)).abs().max() < 0.3  # ImageNet's own mean centres photographs
