"""CIFAR from arrays, from a pretended download, and what goes wrong."""

from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from potstill.data.cifar import CIFAR
from potstill.errors import ConfigError, DataError
from tests.support.places import SHARED


def made_up(num_classes=10):
    """Return {part: (images, labels)} of 40 training and 20 test images."""
    random = np.random.default_rng(0)
    return {
        part: (
            random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
            np.arange(count) % num_classes,
        )
        for part, count in (("train", 40), ("test", 20))
    }


def write(root, arrays):
    for part, (images, labels) in arrays.items():
        np.save(root / f"{part}_images.npy", images)
        np.save(root / f"{part}_labels.npy", labels)


def cifar(root, **settings):
    data = CIFAR(str(root), val_size=10, batch_size=8, **settings)
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("no network")

    for name in ("CIFAR10", "CIFAR100"):
        monkeypatch.setattr(torchvision.datasets, name, refuse)


@pytest.mark.usefixtures("no_network")
def test_arrays_are_used_as_they_are(tmp_path):
    arrays = made_up()
    write(tmp_path, arrays)
    data = cifar(tmp_path, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    image, target, _ = next(iter(data.test_dataloader()))
    np.testing.assert_allclose(image.permute(0, 2, 3, 1) * 255, arrays["test"][0], atol=1e-4)
    assert target.tolist() == arrays["test"][1].tolist()
    assert data.num_train == 30
    rest = [
        batch[0].permute(0, 2, 3, 1).mul(255).round().byte().numpy().tobytes()
        for batch in zip(next(iter(data.val_dataloader()))[0].split(1))
    ]
    train = [image.tobytes() for image in arrays["train"][0]]
    assert len(rest) == 10
    assert set(rest) <= set(train)


@pytest.mark.parametrize(("num_classes", "name"), [(10, "CIFAR10"), (100, "CIFAR100")])
def test_a_download_is_written_as_arrays_once(tmp_path, monkeypatch, num_classes, name):
    arrays, calls = made_up(num_classes), []

    class Downloaded:
        def __init__(self, root, train, download):
            calls.append((root, train, download))
            self.data, labels = arrays["train" if train else "test"]
            self.targets = labels.tolist()

    monkeypatch.setattr(torchvision.datasets, name, Downloaded)
    data = cifar(tmp_path / "new", num_classes=num_classes)
    assert calls == [(tmp_path / "new", True, True), (tmp_path / "new", False, True)]
    for part, (images, labels) in arrays.items():
        assert np.array_equal(np.load(tmp_path / "new" / f"{part}_images.npy"), images)
        assert np.array_equal(np.load(tmp_path / "new" / f"{part}_labels.npy"), labels)
    assert sorted(path.suffix for path in (tmp_path / "new").iterdir()) == [".npy"] * 4
    assert cifar(tmp_path / "new", num_classes=num_classes).fingerprint == data.fingerprint
    assert len(calls) == 2


@pytest.mark.usefixtures("no_network")
def test_without_arrays_and_network_the_error_says_what_was_looked_for(tmp_path):
    write(tmp_path, {"train": made_up()["train"]})
    with pytest.raises(DataError, match=r"test_images.npy, test_labels.npy.*no network") as error:
        CIFAR(str(tmp_path)).prepare_data()
    assert str(tmp_path) in str(error.value)
    assert "Fix:" in str(error.value)


@pytest.mark.parametrize("wrong", [-1, 10, 99])
def test_a_label_out_of_range_names_the_sample(tmp_path, wrong):
    arrays = made_up()
    arrays["train"][1][17] = wrong
    write(tmp_path, arrays)
    with pytest.raises(DataError, match=rf"sample 17 of train_labels.npy has label {wrong}"):
        cifar(tmp_path)


def test_damaged_arrays_are_refused(tmp_path):
    arrays = made_up()
    write(tmp_path, arrays)
    path = tmp_path / "test_images.npy"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"test_images.npy cannot be read"):
        cifar(tmp_path)
    np.save(path, arrays["test"][0].astype(np.float32))
    with pytest.raises(DataError, match=r"test_images.npy is float32 \(20, 32, 32, 3\)"):
        cifar(tmp_path)
    np.save(path, arrays["test"][0][:19])
    with pytest.raises(DataError, match=r"holds int64 \(20,\), .* each of 19 images"):
        cifar(tmp_path)


def test_pickled_arrays_are_not_opened(tmp_path):
    arrays = made_up()
    write(tmp_path, arrays)
    np.save(tmp_path / "test_labels.npy", np.array([{"a": 1}] * 20), allow_pickle=True)
    with pytest.raises(DataError, match=r"test_labels.npy cannot be read"):
        cifar(tmp_path)


def test_other_sizes_and_class_counts_are_refused():
    with pytest.raises(ConfigError, match=r"data.image_size=64"):
        CIFAR("nowhere", image_size=64)
    with pytest.raises(ConfigError, match=r"data.num_classes=20"):
        CIFAR("nowhere", num_classes=20)


def test_class_names_are_torchvisions():
    assert CIFAR("nowhere").class_names[0::9] == ("airplane", "truck")
    names = CIFAR("nowhere", num_classes=100).class_names
    assert len(set(names)) == 100
    assert list(names) == sorted(names)


def test_one_changed_pixel_changes_the_fingerprint(tmp_path):
    arrays = made_up()
    write(tmp_path, arrays)
    before = cifar(tmp_path).fingerprint
    arrays["train"][0][3, 0, 0, 0] ^= 1
    write(tmp_path, arrays)
    assert cifar(tmp_path).fingerprint != before


@pytest.mark.skipif(
    not (SHARED / "data" / "cifar10").is_dir(), reason="needs CIFAR-10 in POTSTILL_SHARED"
)
def test_real_cifar_has_its_known_channel_means(tmp_path):
    folder = SHARED / "data" / "cifar10"
    (sheet,) = sorted(folder.glob("test_*.webp"))
    with Image.open(sheet) as photo:
        tiles = np.asarray(photo).reshape(100, 32, 100, 32, 3).transpose(0, 2, 1, 3, 4)
    images, labels = tiles.reshape(-1, 32, 32, 3), np.load(folder / f"{sheet.stem}_labels.npy")
    write(tmp_path, {"train": (images[:100], labels[:100]), "test": (images, labels)})
    data = cifar(tmp_path, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert data.train_targets.unique().tolist() == list(range(10))
    means = [image.mean(dim=(0, 2, 3)) * len(image) for image, _, _ in data.test_dataloader()]
    # The published means are the training set's; the test set's differ by sampling only.
    published = torch.tensor([0.4914, 0.4822, 0.4465])
    torch.testing.assert_close(sum(means) / 10_000, published, atol=0.006, rtol=0)


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        (np.arange(20) % 10 + 0.0, "holds float64"),
        (np.full(20, np.nan), "holds float64"),
        (np.eye(10, dtype=np.int64).repeat(2, 0), r"holds int64 \(20, 10\)"),
        ((np.arange(20) % 10)[:, None], r"holds int64 \(20, 1\)"),
        (np.array(["cat", "dog"] * 10), "holds <U3"),
        (np.array(3), r"holds int64 \(\)"),
        (np.array([None] * 20), "cannot be read"),
        (np.zeros(20, np.int64), "all labels of test_labels.npy are 0"),
    ],
)
def test_labels_that_are_no_classes_are_refused(tmp_path, labels, what):
    write(tmp_path, made_up())
    np.save(tmp_path / "test_labels.npy", labels)
    with pytest.raises(DataError, match=what) as error:
        cifar(tmp_path)
    assert str(error.value).startswith(f"data.root={tmp_path}: ")


@pytest.mark.parametrize("shape", ["(10, 1000000000, 1000000)", "(20, 32, 32, 3000)", "(-1,)"])
def test_a_header_that_claims_more_than_there_is(tmp_path, shape):
    write(tmp_path, made_up())
    path = tmp_path / "test_images.npy"
    content = path.read_bytes()
    start = content.index(b"(20,")
    end = content.index(b")", start) + 1
    claimed = shape.encode()
    # A header of 118 bytes ends in spaces that make room.
    header = content[10:128].replace(content[start:end], claimed).rstrip()
    path.write_bytes(content[:10] + header.ljust(117) + b"\n" + content[128:])
    with pytest.raises(DataError, match=r"test_images\.npy cannot be read"):
        cifar(tmp_path)


def test_an_empty_test_set_and_a_single_number_are_refused(tmp_path):
    arrays = made_up()
    write(tmp_path, arrays | {"test": (arrays["test"][0][:0], arrays["test"][1][:0])})
    with pytest.raises(DataError, match=r"test_.*npy (is empty|cannot be read)"):
        cifar(tmp_path)
    np.save(tmp_path / "test_images.npy", np.uint8(3))
    with pytest.raises(DataError, match=r"test_images.npy is uint8 \(\)"):
        cifar(tmp_path)
