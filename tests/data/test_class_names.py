"""Names of classes that are one line of text, and those that are refused before training."""

import os

import pytest

from potstill.data.class_names import check_names
from potstill.data.fake import Fake
from potstill.data.imagenet import ImageNet
from potstill.data.storage.write_shards import write_shards
from potstill.errors import DataError

LINES = [
    "<script>alert(1)</script>",
    "a\"b'c & d",
    "$x^2$ and $",
    "a/b\\c",
    "\u062c\u0645\u0644",  # Arabic
    "\u718a\u732b",  # Chinese
    "\U0001f469\u200d\U0001f692",  # two signs joined into one
    "\u202egnp.tac\u200f",
    "x" * 10_000,
]
NOT_LINES = ["a\nb", "a\rb", "a\tb", "\x1b[31m", "a\x00", "a\u2028b", "a\x85b", "\udcff", "", " "]


def test_what_is_a_line_is_taken():
    check_names(LINES, "data")


@pytest.mark.parametrize("name", NOT_LINES, ids=ascii)
def test_what_is_no_line_is_refused_in_one(name):
    with pytest.raises(DataError, match=r"^data: the class '.*' is not one line") as caught:
        check_names(["cat", name], "data")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", [b"a\nb", b"caf\xe9"])
def test_folders_of_such_names_are_refused_with_their_root(name, tmp_path):
    for part in (b"train", b"val"):
        for label in (b"cat", name):
            os.makedirs(os.path.join(os.fsencode(tmp_path), part, label))
    with pytest.raises(DataError, match=rf"data.root={tmp_path}: train: the class ") as caught:
        ImageNet(str(tmp_path), num_classes=2).setup()
    assert str(caught.value).isprintable()
    with pytest.raises(DataError, match="is not one line of text"):
        write_shards(tmp_path, tmp_path / "shards")


def test_names_of_any_data_are_looked_at():
    data = Fake(num_classes=2, image_size=4, train_size=8, test_size=4, val_size=2)
    data.class_names = ("cat", "d\nog")
    with pytest.raises(DataError, match=r"data \(.*\): the class 'd\\nog'"):
        data.setup()
