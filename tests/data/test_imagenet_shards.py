"""ImageNet from shards: what the folder gives, from anywhere, and from any place in an epoch."""

import pytest
import torch
from lightning.pytorch import LightningModule

from potstill.data.imagenet_shards import ImageNetShards
from potstill.data.loaders import epoch_order
from potstill.data.storage.write_shards import write_shards
from potstill.errors import ConfigError, DataError
from tests.support.places import SHARED
from tests.support.shard_folders import SETTINGS, folder_data, make_shards, put_in_place, shard_data


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("images"))


def assert_same(ours, theirs):
    ours, theirs = list(ours), list(theirs)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def two_epochs(data):
    loader = data.train_dataloader()
    return [batch for _ in range(2) for batch in loader]


def make_images(batches):
    """Return the images by their ids."""
    return {
        i: image
        for images, _, ids in batches
        for image, i in zip(images, ids.tolist(), strict=True)
    }


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_workers": 2},
        {"class_names": ["n03", "n01", "n02"]},
        {"mixup": 0.4, "cutmix": 1.0, "color_jitter": [0.4, 0.4, 0.4, 0.1], "view_cycle": 2},
    ],
)
def test_the_batches_are_the_folders(root, settings):
    shards, folder = shard_data(root, **settings), folder_data(root.parent / "folder", **settings)
    assert shards.class_names == folder.class_names
    assert shards.fingerprint == folder.fingerprint
    assert_same(two_epochs(shards), two_epochs(folder))
    assert_same(shards.val_dataloader(), folder.val_dataloader())
    assert_same(shards.test_dataloader(), folder.test_dataloader())


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("done", [1, 3, 4, 6])
def test_a_resume_goes_on_with_the_next_batch_at_another_worker_count(root, window, done):
    whole = two_epochs(shard_data(root, chunk_window=window))
    assert len(whole) == 8
    first = shard_data(root, chunk_window=window).train_dataloader()
    handed = (batch for _ in range(2) for batch in first)
    for _ in range(done):
        next(handed)
    resumed = shard_data(root, chunk_window=window, num_workers=1 if done == 3 else 0)
    loader = resumed.train_dataloader()
    loader.load_state_dict(first.state_dict())
    rest = [batch for _ in range(2) for batch in loader]
    assert_same(rest[: 8 - done], whole[done:])


class Regression(LightningModule):
    """Trains one row of weights on the pixels, and saves itself after the step `save_at`."""

    def __init__(self, path=None, save_at=0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3 * 12 * 12))
        self.path, self.save_at, self.seen = path, save_at, []

    def training_step(self, batch):
        image, target, sample_id = batch
        self.seen.append(sample_id.tolist())
        return (image.flatten(1) @ self.weight - target).square().mean()

    def validation_step(self, batch):
        self.log("val", batch[0].mean())

    def on_train_batch_end(self, *_):
        if self.trainer.global_step == self.save_at:
            self.trainer.save_checkpoint(self.path)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3, momentum=0.9)


@pytest.mark.parametrize(("window", "done"), [(None, 2), (2, 7)])
def test_a_run_resumed_within_an_epoch_ends_with_the_same_bits(
    root, tmp_path, trainer, window, done
):
    settings = {"chunk_window": window, "val_size": 3}  # five steps an epoch
    whole = Regression(tmp_path / "last.ckpt", done)
    trainer(max_epochs=2).fit(whole, datamodule=shard_data(root, **settings))
    assert len(whole.seen) == 10
    resumed, data = Regression(), shard_data(root, num_workers=1, **settings)
    trainer(max_epochs=2).fit(resumed, datamodule=data, ckpt_path=whole.path, weights_only=True)
    assert resumed.seen == whole.seen[done:]
    assert torch.equal(resumed.weight, whole.weight)


def test_a_window_changes_the_order_and_nothing_else(root):
    plain, windowed = (two_epochs(shard_data(root, chunk_window=w)) for w in (None, 2))
    for epoch in (slice(4), slice(4, 8)):
        ids = [torch.cat([batch[2] for batch in b[epoch]]).tolist() for b in (plain, windowed)]
        assert ids[0] != ids[1]
    first, second = (make_images(batches[:4]) for batches in (plain, windowed))
    shared = first.keys() & second.keys()  # each epoch leaves out two of the eighteen
    assert len(shared) >= 14
    assert all(torch.equal(first[i], second[i]) for i in shared)


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("window", [None, 2])
def test_the_samples_announced_are_those_handed_out(root, monkeypatch, window, world):
    monkeypatch.setattr(epoch_order, "rank_and_world", lambda: (world - 1, world))
    loader = shard_data(root, chunk_window=window, batch_size=4 // world).train_dataloader()
    for epoch in range(2):
        announced = loader.sample_ids(epoch)
        assert torch.equal(announced, torch.cat([ids for *_, ids in loader]))


@pytest.fixture
def bucket(monkeypatch, tmp_path):
    return put_in_place(monkeypatch, tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_address_gives_the_same_with_a_cache_that_holds_half(root, tmp_path, bucket, workers):
    cache = {"cache": str(tmp_path / "cache"), "cache_gb": 1.3e-5, "chunk_window": 1}
    far = shard_data(f"s3:/{root}", num_workers=workers, **cache)
    near = shard_data(root, chunk_window=1)
    assert far.fingerprint == near.fingerprint
    bucket.noted()
    loader, expected = far.train_dataloader(), two_epochs(near)
    for epoch in range(2):
        assert_same(loader, expected[4 * epoch : 4 * epoch + 4])
        downloaded = bucket.noted()
        assert len(set(downloaded)) <= 4
        if not workers:  # two workers that start at once may both miss a chunk
            assert len(downloaded) == len(set(downloaded))  # each chunk once, some kept
    assert_same(far.val_dataloader(), near.val_dataloader())
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.bin")) <= 13_000
    assert all(" " in request for request in bucket.noted())  # ranges, no chunks


def test_an_address_whose_cache_holds_all_gives_the_folders_order(root, tmp_path, bucket):
    far = shard_data(f"s3:/{root}", cache=str(tmp_path / "cache"))
    bucket.noted()
    assert_same(two_epochs(far), two_epochs(folder_data(root.parent / "folder")))
    assert sorted(bucket.noted()) == [f"chunk-0-{number}.bin" for number in range(4)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"root": "s3://bucket/imagenet"}, r"data.root=s3://bucket/imagenet: .*data.cache=FOLDER"),
        ({"root": "ftp://host/imagenet"}, r"data.root=ftp://host/imagenet: unknown kind"),
        ({"cache": "somewhere"}, r"data.cache=somewhere: nothing is downloaded"),
        ({"cache_gb": 3}, r"data.cache_gb=3: .*without data.cache"),
        ({"root": "s3://b", "cache": "c", "cache_gb": 0}, r"data.cache_gb=0: must be above 0"),
        ({"chunk_window": 0}, r"data.chunk_window=0: too few"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ImageNetShards(**{"root": "nowhere"} | SETTINGS | settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"data.cache_gb=1.8e-05: less than the shards have.*data.chunk_window=null"),
        ({"chunk_window": 1, "mixup": 0.2}, r"mixed with any others.*data.mixup=0"),
        ({"chunk_window": 2}, r"less than twice the 2 chunks of data.chunk_window"),
    ],
)
def test_a_cache_that_would_be_filled_over_and_over_is_refused(
    root, tmp_path, bucket, settings, message
):
    with pytest.raises(ConfigError, match=message):
        shard_data(f"s3:/{root}", cache=str(tmp_path / "cache"), cache_gb=1.8e-5, **settings)


def test_the_classes_must_be_those_that_were_written(root):
    with pytest.raises(DataError, match=r"data.num_classes=9: .* holds 3 classes. Fix: .*=3"):
        shard_data(root, num_classes=9)
    with pytest.raises(DataError, match=r"data.class_names=.*not the classes of .*, for one n03"):
        shard_data(root, class_names=["n01", "n02", "n04"])


def test_a_truncated_chunk_is_found_before_training(tmp_path):
    root = make_shards(tmp_path)
    chunk = root / "train" / "chunk-0-2.bin"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"train/chunk-0-2.bin has \d+ bytes, not \d+"):
        ImageNetShards(str(root), **SETTINGS).prepare_data()


@pytest.mark.skipif(
    not (SHARED / "data" / "imagenette").is_dir(), reason="needs Imagenette in POTSTILL_SHARED"
)
def test_real_photographs_come_the_same_from_both(tmp_path):
    folder, settings = SHARED / "data" / "imagenette", {"num_classes": 10, "image_size": 64}
    manifest = write_shards(folder, tmp_path / "out", chunk_mb=8)
    settings |= {"val_size": 100, "batch_size": 32, "eval_batch_size": 50}
    shards, plain = shard_data(tmp_path / "out", **settings), folder_data(folder, **settings)
    assert shards.num_train == 1400
    assert len(manifest.parts["train"].chunks) > 1
    assert shards.fingerprint == plain.fingerprint
    for split in ("train_dataloader", "val_dataloader", "test_dataloader"):
        ours, theirs = (next(iter(getattr(data, split)())) for data in (shards, plain))
        assert_same([ours], [theirs])
