"""Class folders: labels by name, and everything that should not be there."""

import os

import pytest

from potstill.data.storage.image_folder import check_classes, class_folders, find_files
from potstill.errors import DataError
from tests.support.image_folders import CLASSES, make_folder


@pytest.fixture
def root(tmp_path):
    return make_folder(tmp_path, train=2, val=1)


def test_files_are_found_in_order_with_the_label_of_their_folder(root):
    files = find_files(root, "train", CLASSES)
    expected = [f"train/{c}/{c}_{n}" for c in CLASSES for n in range(2)]
    assert [str(files.path(i).relative_to(root).with_suffix("")) for i in range(6)] == expected
    assert files.targets.tolist() == [0, 0, 1, 1, 2, 2]
    assert files.sizes.tolist() == [files.path(i).stat().st_size for i in range(6)]


def test_labels_follow_the_given_order_of_classes(root):
    files = find_files(root, "train", ("n03", "n01", "n02"))
    assert [files.path(i).parent.name for i in (0, 2, 4)] == ["n03", "n01", "n02"]
    assert files.targets.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_choice_of_files_keeps_paths_and_labels_together(root):
    files = find_files(root, "train", CLASSES)
    chosen = files[files.targets.argsort(descending=True)[[0, 5]]]
    assert [chosen.path(i).parent.name for i in range(2)] == [
        CLASSES[label] for label in chosen.targets.tolist()
    ]


def test_other_files_are_left_alone(root):
    (root / "train" / "n01" / "notes.txt").write_text("hi")
    (root / "train" / "n01" / "._n01_0.JPEG").write_text("left by a Mac")
    (root / "train" / "README").write_text("hi")
    assert class_folders(root / "train") == CLASSES
    assert len(find_files(root, "train", CLASSES)) == 6


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=f"data.root={tmp_path}: there is no folder train"):
        class_folders(tmp_path / "train")


def test_a_hidden_folder_is_named(root):
    (root / "val" / ".ipynb_checkpoints").mkdir()
    with pytest.raises(DataError, match=r"val/\.ipynb_checkpoints is no class"):
        check_classes(root / "val", CLASSES)


def test_a_missing_class_is_named(root):
    for name in CLASSES[1:]:
        next((root / "val" / name).iterdir()).unlink()
        (root / "val" / name).rmdir()
    with pytest.raises(DataError, match=r"val/n02 is missing \(and 1 more\)"):
        check_classes(root / "val", CLASSES)


def test_a_stray_class_is_named(root):
    (root / "val" / "n02x").mkdir()
    with pytest.raises(DataError, match="val/n02x is none of the 3 classes"):
        check_classes(root / "val", CLASSES)


def test_an_empty_class_is_named(root):
    for path in (root / "train" / "n02").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(DataError, match="train/n02 holds no image"):
        find_files(root, "train", CLASSES)


def test_what_is_no_file_is_named_and_not_opened(root):
    for make in (os.mkfifo, lambda path: path.symlink_to("nowhere"), lambda path: path.mkdir()):
        odd = root / "train" / "n01" / "odd.JPEG"
        make(odd)
        with pytest.raises(DataError, match=r"n01/odd\.JPEG' is no file, or a link to none"):
            find_files(root, "train", CLASSES)
        odd.rmdir() if odd.is_dir() else odd.unlink()


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines", b"bell\x07"])
def test_a_folder_whose_name_is_no_line_of_text_is_refused(root, name):
    os.mkdir(os.path.join(os.fsencode(root), b"train", name))
    with pytest.raises(DataError, match="is not one line of text") as error:
        class_folders(root / "train")
    assert str(error.value).isprintable()
