"""The spot check finds rows that were changed together with their checksum."""

import pytest
import torch
from safetensors.torch import load_file

from potstill.errors import DataError
from potstill.models.features.outputs import ModelOutputs
from potstill.teacher.cache.segments import write_segment
from potstill.teacher.cache.verify import verify
from tests.support.store_cases import open_new, outputs_of

IDS = torch.arange(16)
VIEW = (5 * IDS) % 18


def view_images(sample_id, view):
    """Return images that carry their key."""
    return torch.stack([sample_id, view], 1).float().view(-1, 2, 1, 1)


def forward(image, sample_id):
    ids, view = image.flatten(1).long().unbind(1)
    assert torch.equal(ids, sample_id)
    return ModelOutputs(outputs_of(ids, view).logits)


def filled(folder, **changes):
    mine = open_new(folder, **changes)
    mine.put(IDS, VIEW, outputs_of(IDS, VIEW))
    mine.flush()
    return mine


@pytest.mark.parametrize("top_k", [None, 2])
def test_an_honest_store_passes(tmp_path, top_k):
    assert verify(filled(tmp_path, top_k=top_k), forward, view_images) <= 2**-11
    assert verify(open_new(tmp_path / "empty"), None, None) == 0.0


@pytest.mark.parametrize("change", [0.25, -100.0, float("nan")])
def test_one_tampered_row_with_a_valid_checksum_is_found(tmp_path, change):
    mine = filled(tmp_path)
    (path,) = tmp_path.glob("*.safetensors")
    parts = load_file(path)
    parts["logits"][7, 3] += change
    rows = parts.pop("rows")
    path.unlink()
    write_segment(tmp_path, rows, parts)
    mine.reload()
    expected = rf"max \|difference\| .* > 0\.001 .*sample 7, view {int(VIEW[7])}\)\. Fix: teacher"
    with pytest.raises(DataError, match=expected):
        verify(mine, forward, view_images)


def test_a_shifted_key_is_found(tmp_path):
    mine = open_new(tmp_path)
    mine.put(IDS, VIEW, outputs_of(IDS.roll(1), VIEW))
    with pytest.raises(DataError, match="not what the teacher gives"):
        verify(mine, forward, view_images, count=1, seed=0)


def test_it_asks_for_no_more_than_it_should(tmp_path):
    asked = []

    def counting(image, sample_id):
        asked.append(len(image))
        return forward(image, sample_id)

    verify(filled(tmp_path), counting, view_images, count=5)
    verify(filled(tmp_path), counting, view_images, count=99)
    assert asked == [5, 16]
