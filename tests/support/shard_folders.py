"""The same small images as a folder and as shards of a few images each, near and far."""

from pathlib import Path

from potstill.data.imagenet import ImageNet
from potstill.data.imagenet_shards import ImageNetShards
from potstill.data.storage.write_shards import write_shards
from tests.support.image_folders import make_folder

SETTINGS = {"num_classes": 3, "image_size": 12, "val_size": 6, "batch_size": 4, "num_workers": 0}


def make_shards(root):
    """Write `root/folder` and, from it, `root/shards`: 24 and 12 images in 4 and 2 chunks."""
    write_shards(make_folder(root / "folder"), root / "shards", chunk_mb=0.006)
    return root / "shards"


def folder_data(root, **settings):
    return _set_up(ImageNet(str(root), **SETTINGS | settings))


def shard_data(root, **settings):
    return _set_up(ImageNetShards(str(root), **SETTINGS | settings))


def _set_up(data):
    data.prepare_data()
    data.setup()
    return data


class Bucket:
    """Stands in for litdata's S3 downloader: s3://PATH is a folder here, requests are noted."""

    requests: Path

    def __init__(self, *arguments, **settings):
        pass

    def download_fileobj(self, address, file):
        self._note(address)
        file.write(self._path(address).read_bytes())

    def download_bytes(self, address, offset, length, local_chunkpath):
        self._note(f"{address} {offset}")
        return self._path(address).read_bytes()[offset : offset + length]

    def _path(self, address):
        return Path(address.removeprefix("s3:/"))

    def _note(self, request):
        with self.requests.open("a") as file:  # workers note theirs, too
            file.write(request.rpartition("/")[2] + "\n")

    @classmethod
    def noted(cls):
        """Return the requests since the last call."""
        lines = cls.requests.read_text().splitlines()
        cls.requests.write_text("")
        return lines


def put_in_place(monkeypatch, folder):
    """Let s3:// addresses be folders, for one test."""
    from litdata.streaming import downloader

    monkeypatch.setattr(Bucket, "requests", folder / "requests", raising=False)
    Bucket.requests.write_text("")
    monkeypatch.setitem(downloader._DOWNLOADERS, "s3://", Bucket)
    return Bucket
