"""Map-style Datasets as data: what they give is what is trained on, whoever reads it."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from potstill.data.dataset import DatasetData
from potstill.data.storage.samples import open_samples
from potstill.errors import ConfigError, DataError

COUNT, SIDE = 60, 8


class Pictured(Dataset):
    """Random images with labels 0, 1, 2, 0, ... in one of three forms."""

    def __init__(self, form="bytes", count=COUNT, side=SIDE):
        generator = torch.Generator().manual_seed(0)
        self.pixels = torch.randint(256, (count, 3, side, side), generator=generator).byte()
        self.form = form

    def __len__(self):
        return len(self.pixels)

    def __getitem__(self, position):
        image = self.pixels[position]
        if self.form == "pillow":
            image = Image.fromarray(image.permute(1, 2, 0).numpy())
        elif self.form == "floats":
            image = image.double() / 255
        return image, np.int64(position % 3)


def make(dataset=None, **settings):
    defaults = {"num_classes": 3, "image_size": SIDE, "batch_size": 8, "eval_batch_size": 16}
    data = DatasetData(dataset or Pictured(), **{**defaults, **settings})
    data.setup()
    return data


def epoch(data, number=0):
    loader = data.train_dataloader()
    loader.set_epoch(number)
    return list(loader)


@pytest.mark.parametrize("form", ["bytes", "pillow", "floats"])
def test_samples_are_served_as_they_are(form):
    dataset = Pictured(form)
    data = make(dataset)
    batches = [*epoch(data), *data.val_dataloader(), *data.test_dataloader()]
    seen = {}
    splits = [data._splits[name] for name in ("train", "val", "test")]
    loaders = [epoch(data), data.val_dataloader(), data.test_dataloader()]
    for split, loader in zip(splits, loaders, strict=True):
        for image, target, sample_id in loader:
            assert image.dtype == torch.float32
            for one, label, position in zip(image, target, split.positions[sample_id], strict=True):
                assert torch.equal(one, dataset.pixels[position].float() / 255)
                assert label == position % 3
                seen[int(position)] = None
    assert len(seen) >= COUNT - 8 + 1  # but for the epoch's last batch, which is dropped
    assert len(batches) == 6 + 1 + 1
    assert data.class_names == ("0", "1", "2")
    assert data.num_train == 60 - 6 - 5  # a tenth of all, then a tenth of the rest


def test_floats_are_bit_equal_and_bytes_are_normalized():
    generator = torch.Generator().manual_seed(1)
    floats = torch.rand(30, 3, SIDE, SIDE, generator=generator)
    data = make(TensorDataset(floats, torch.arange(30) % 3))
    for image, _, sample_id in data.val_dataloader():
        assert torch.equal(image, floats[data._splits["val"].positions[sample_id]])
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    image, _, sample_id = next(iter(make(mean=mean, std=std).val_dataloader()))
    pixels = Pictured().pixels[make()._splits["val"].positions[sample_id]] / 255
    expected = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(image, expected)


@pytest.mark.parametrize(
    "settings", [{}, {"crop_padding": 1, "flip": True, "mixup": 0.4, "views": 2}]
)
def test_the_same_batches_whoever_reads_them_and_after_a_resume(settings):
    alone, helped = make(**settings), make(**settings, num_workers=2)
    first = epoch(alone, 1)
    loader = helped.train_dataloader()
    loader.load_state_dict({"epoch": 1, "batch": 2})
    resumed = list(loader)
    assert len(resumed) == len(first) - 2
    for ours, theirs in zip(first[2:], resumed, strict=True):
        for a, b in zip(flat(ours), flat(theirs), strict=True):
            assert torch.equal(a, b)


def flat(batch):
    image, *rest = batch
    return [*(image if isinstance(image, tuple) else (image,)), *rest]


def test_a_view_is_rendered_again_as_training_showed_it():
    data = make(crop_padding=1, flip=True)
    image, _, sample_id = epoch(data, 3)[0]
    shown = data.view_images(sample_id, data.view_index(sample_id, 3))
    assert torch.equal(image, shown)
    assert data.num_views == 18
    assert make().num_views == 1


def test_given_splits_are_taken_whole():
    data = make(val=Pictured(count=5), test=Pictured(count=7))
    assert [len(split) for split in data._splits.values()] == [60, 5, 7]
    with pytest.raises(ConfigError, match=r"data\.val_size=3: .* where data\.val is null"):
        make(val=Pictured(count=5), val_size=3)
    assert len(make(test_size=12, val_size=3)._splits["train"]) == 45


def test_the_fingerprint_is_of_what_it_gives_or_its_own():
    dataset = Pictured()
    pixels = [dataset.pixels[i].contiguous().numpy().tobytes() for i in range(COUNT)]
    header = b"(3, 8, 8) torch.uint8"
    digest = hashlib.sha256(b"60" + b"".join(header + one for one in pixels)).hexdigest()
    assert open_samples(dataset, "data.train", SIDE, 3).fingerprint == digest
    same, other = Pictured("pillow"), Pictured()
    other.pixels[17, 0, 0, 0] += 1
    assert make(same).fingerprint == make(dataset).fingerprint != make(other).fingerprint
    other.fingerprint = "mine"
    assert open_samples(other, "data.train", SIDE, 3).fingerprint == "mine"


def test_listed_labels_are_believed_only_if_its_samples_say_the_same():
    read = []

    class Listed(Pictured):
        def __getitem__(self, position):
            read.append(position)
            return super().__getitem__(position)

    dataset = Listed(count=5000)
    dataset.targets = [position % 3 for position in range(5000)]
    assert open_samples(dataset, "k", SIDE, 3).targets.tolist() == dataset.targets
    assert len(read) < 1300
    dataset.targets = [0] * 5000
    assert open_samples(dataset, "k", SIDE, 3).targets[:4].tolist() == [0, 1, 2, 0]


def test_names_of_the_classes_are_its_own():
    dataset = Pictured()
    dataset.classes = ["cat", "dog", "owl"]
    assert make(dataset).class_names == ("cat", "dog", "owl")
    assert make(dataset).dataset_name == "Pictured"
    with pytest.raises(ConfigError, match=r"data\.num_classes=4: .*Fix: data\.num_classes=3"):
        make(dataset, num_classes=4)


class Broken(Pictured):
    def __getitem__(self, position):
        if position == 11 and self.form == "late" and getattr(self, "served", False):
            raise OSError("disk gone")
        image, label = super().__getitem__(position)
        return {
            "label": (image, 3.5),
            "array": (image.numpy(), label),
            "shape": (image[:2], label),
            "int": (image.long(), label),
            "alone": image,
            "large": (image, 7),
        }.get(self.form, (image, label))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("label", r"data\.train\[0\]: TypeError: 'float' object"),
        ("array", r"data\.train\[0\]: TypeError: the image is a ndarray"),
        ("shape", r"data\.train\[0\]: ValueError: the image has the shape \(2, 8, 8\)"),
        ("int", r"data\.train\[0\]: ValueError: the image is of torch.int64"),
        ("large", r"data\.train\[0\]: label 7, with data\.num_classes=3"),
    ],
)
def test_what_is_no_image_with_a_label_is_named(form, message):
    with pytest.raises(DataError, match=message):
        make(Broken(form))


def test_images_of_another_size_are_named():
    with pytest.raises(DataError, match=r"8x8 torch.uint8, not 16x16 .*Fix: data\.image_size=8"):
        make(image_size=16)


def test_random_transforms_and_datasets_without_numbers_are_refused():
    class Noisy(Pictured):
        def __getitem__(self, position):
            return torch.rand(3, SIDE, SIDE), 0

    class Streamed(IterableDataset):
        def __iter__(self):
            return iter(Pictured())

    with pytest.raises(ConfigError, match=r"data\.train\[0\]: is another image each time"):
        make(Noisy())
    with pytest.raises(ConfigError, match=r"data\.train: Streamed has no samples by number"):
        make(Streamed())
    with pytest.raises(ConfigError, match=r"data\.train: gives floats, which color_jitter"):
        make(Pictured("floats"), cutout=2)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_sample_that_fails_in_training_is_one_error(num_workers):
    dataset = Broken("late")
    data = make(dataset, num_workers=num_workers)
    dataset.served = True
    with pytest.raises(DataError, match=r"data\.train\[11\]: OSError: disk gone"):
        epoch(data)
