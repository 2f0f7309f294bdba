"""Files are kept only where they compute what the network does."""

import hashlib
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from potstill.errors import DataError, StorageError
from potstill.export.parity import (
    FLOAT_DB,
    INTEGER_DB,
    check,
    check_converted,
    compare,
    in_batches,
    keep_verified,
    least_db,
)
from potstill.integrity.sums import sums_of
from potstill.quantization.convert import convert
from potstill.quantization.dynamic import quantize_dynamic
from potstill.quantization.prepare import prepare
from potstill.tasks.classification import Classification
from tests.support.exported_nets import integers, make_images, small

IMAGES = torch.zeros(2, 3, 4, 4)
REFERENCE = torch.tensor([[3.0, 4.0], [3.0, 4.0]])


class Fixed:
    """A runtime that gives what it was told to."""

    name = "fixed"

    def __init__(self, logits):
        self.logits = logits

    def __call__(self, images):
        return self.logits


def keep(path, logits, load=None, floor=20.0):
    load = load or (lambda file: Fixed(logits))
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval()
    with torch.no_grad():
        network[1].bias.copy_(REFERENCE[0])
    return keep_verified(path, b"content", load, network, IMAGES, floor)


def test_compare_by_hand():
    reference = torch.tensor([[2.0, 1.9, 0.0], [5.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    other = torch.tensor([[1.9, 2.0, 0.0], [5.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    parity = compare(reference, other, min_sqnr_db=20)
    assert parity.agreement == pytest.approx(2 / 3)
    assert parity.max_difference == pytest.approx(0.1)
    # Less their means, 2.54 + 16.67 + 0.67 over 9 logits: noise up to 0.149 is allowed, so 0.1
    # apart is a tie.
    assert parity.clear == 1
    # At 60 dB noise is up to 0.0015, and the two are clearly apart.
    assert compare(reference, other, min_sqnr_db=60).clear == pytest.approx(2 / 3)


def test_what_all_classes_share_is_no_signal_for_classification_alone():
    reference = torch.tensor([[101.0, 99.0], [99.0, 101.0]])
    other = reference + torch.tensor([[0.1, -0.1], [-0.1, 0.1]])
    assert compare(reference, other, 10).sqnr_db == pytest.approx(20, abs=1e-3)
    assert compare(reference, other, 10, Task()).sqnr_db == pytest.approx(60, abs=1e-2)
    # What a file adds to all classes is still something else than what the network computes.
    assert compare(reference, reference + 10, 10).sqnr_db == pytest.approx(20, abs=1e-2)


class Task(Classification):
    def comparable(self, outputs):
        return outputs


def test_a_file_that_agrees_is_kept(tmp_path):
    path = tmp_path / "deep" / "net.bin"
    done = keep(path, REFERENCE + 0.01)
    assert path.read_bytes() == b"content"
    assert (done.path, done.bytes, done.runtime, done.agreement) == (path, 7, "fixed", 1.0)
    assert done.max_difference == pytest.approx(0.01, rel=1e-4)
    assert done.sqnr_db == pytest.approx(10 * math.log10(50 / 4e-4), rel=1e-4)
    assert sorted(path.parent.iterdir()) == [path, sums_of(path)]
    assert sums_of(path).read_text() == f"{hashlib.sha256(b'content').hexdigest()}  net.bin\n"


@pytest.mark.parametrize(
    "logits",
    [-REFERENCE, REFERENCE.flip(1), REFERENCE * 0.5, torch.full((2, 2), math.nan)],
    ids=["negative", "other classes", "half", "nan"],
)
def test_a_file_that_differs_is_not_kept_nor_an_earlier_one(tmp_path, logits):
    path = tmp_path / "net.bin"
    path.write_bytes(b"earlier")
    with pytest.raises(DataError, match=r"export=net.bin: .* No file was written. Fix: "):
        keep(path, logits)
    assert list(tmp_path.iterdir()) == []


def test_clear_images_must_agree_however_small_the_noise():
    reference = torch.cat([torch.full((99, 1), 200.0), torch.zeros(99, 1)], 1)
    reference = torch.cat([reference, torch.tensor([[3.0, 0.0]])])
    other = torch.cat([reference[:99], torch.tensor([[0.0, 3.0]])])
    parity = compare(reference, other, min_sqnr_db=45)
    assert parity.sqnr_db > 45
    with pytest.raises(DataError, match=r"99\.0 %"):
        check(parity, 45, "export=x")


def test_a_file_that_does_not_load_is_not_kept(tmp_path):
    def load(file: Path):
        assert file.read_bytes() == b"content"
        raise DataError("broken")

    with pytest.raises(DataError, match="broken"):
        keep(tmp_path / "net.bin", REFERENCE, load)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be written"):
        keep(tmp_path / "file" / "net.bin", REFERENCE)


def test_a_converted_network_that_computes_something_else_is_one_line():
    prepared, images = prepare(small()).train(), make_images()
    with torch.no_grad():
        prepared(images)
    converted = convert(prepared)
    check_converted(prepared.eval(), converted, images)
    converted.conv2.weight = converted.conv2.weight.roll(1, 0)
    with pytest.raises(DataError, match=r"quantization: the int8 network .* dB .*Fix: ") as error:
        check_converted(prepared, converted, images)
    assert "\n" not in str(error.value)


def test_how_close_a_file_must_be():
    network, images = integers(small()), make_images()
    reference = in_batches(network, images)
    assert 6 < least_db(network, images, reference) <= 30
    assert least_db(small(), images, reference) == FLOAT_DB
    dynamic = quantize_dynamic(small())[0]
    assert least_db(dynamic, images, in_batches(dynamic, images)) == INTEGER_DB
    # Logits under the noise: no file could be told from another one closely.
    assert least_db(network, images, reference * 1e-6) == 6
