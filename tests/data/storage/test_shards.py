"""Training from shards: any order, any worker count, and every image checked."""

from itertools import chain

import pytest
import torch

from potstill.data.storage.decode import read_image
from potstill.data.storage.image_folder import find_files
from potstill.data.storage.shards import chunk_order
from potstill.errors import DataError
from tests.support.image_folders import CLASSES
from tests.support.shard_folders import make_shards, shard_data


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("images"))


def official(root):
    return shard_data(root).load()[0]


def test_every_image_is_its_file(root):
    shards = official(root)
    files = find_files(root.parent / "folder", "train", CLASSES)
    assert shards.identity()[0] == files.identity()[0]
    for i in range(24):
        assert torch.equal(shards.image(i, 10_000), read_image(files.path(i), 10_000))


def test_chosen_images_are_those(root):
    shards = official(root)
    chosen = shards[torch.tensor([20, 3])]
    assert len(chosen) == 2
    assert torch.equal(chosen.image(0, 10_000), shards.image(20, 10_000))
    assert chosen.path(1) == shards.path(3)
    assert chosen.targets.tolist() == [2, 0]


@pytest.mark.parametrize("count", [0, 1])
def test_a_changed_image_is_named_in_one_line_from_a_worker_too(root, tmp_path, count):
    copied = make_shards(tmp_path)
    shards = official(copied)
    chunk = copied / shards.chunks[int(shards.chunk[9])].name
    content = bytearray(chunk.read_bytes())
    content[int(shards.begin[9]) + int(shards.sizes[9]) // 2] ^= 1
    chunk.write_bytes(content)
    data = shard_data(copied, num_workers=count, drop_last=False)
    name = f"{chunk}:train/n02/n02_1.JPEG"
    with pytest.raises(DataError, match=f"file={name}: is damaged, its checksum") as error:
        list(chain(data.train_dataloader(), data.val_dataloader()))
    assert "\n" not in str(error.value)


def spans(order, chunk, chunks):
    """Return where in the order each chunk's first and last image stand."""
    places = [(chunk[order] == number).nonzero()[:, 0] for number in range(chunks)]
    return [(int(place.min()), int(place.max())) for place in places]


def test_a_chunk_is_in_use_once_and_only_window_many_at_a_time():
    chunks, size, window = 50, 40, 4
    chunk = torch.randint(chunks, (chunks * size,), generator=torch.Generator().manual_seed(0))
    order = chunk_order(chunk, window, seed=1, epoch=2)
    assert sorted(order.tolist()) == list(range(chunks * size))
    in_use = torch.zeros(len(order))
    for first, last in spans(order, chunk, chunks):
        in_use[first : last + 1] += 1
    assert in_use.max() <= window + 1
    middle = in_use[window * size : -window * size]
    assert 0.75 * window < middle.mean() <= window
    assert len(set(chunk[order[1000:1100]].tolist())) >= window


def test_the_order_is_a_function_of_seed_and_epoch():
    chunk = torch.arange(60) // 6
    orders = [
        chunk_order(chunk, 3, seed, epoch).tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    assert orders[0] == chunk_order(chunk, 3, 0, 0).tolist()
    assert orders[0] != orders[1] != orders[2] != orders[0]
    first = [chunk[order[:6]].unique().tolist() for order in map(torch.tensor, orders)]
    assert first[0] != first[1] != first[2]  # other chunks begin, too
