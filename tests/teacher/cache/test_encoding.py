"""Stored numbers against NumPy's half precision and sums in plain Python."""

import math

import numpy as np
import pytest
import torch

from potstill.errors import DataError
from potstill.teacher.cache.encoding import CachedOutputs, Encoding

LOGITS = 5 * torch.randn(32, 10, generator=torch.Generator().manual_seed(0))


def test_half_precision_is_numpys():
    encoding = Encoding(10)
    found = encoding.decode(encoding.encode(CachedOutputs(LOGITS))).logits
    expected = LOGITS.numpy().astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(found.numpy(), expected)
    assert float(((found - LOGITS) / LOGITS).abs().max()) <= 2**-11
    again = encoding.decode(encoding.encode(CachedOutputs(found))).logits
    assert torch.equal(again, found)


def test_float32_and_pooled_features_come_back_whole():
    encoding, pooled = Encoding(10, "float32", dim_pooled=3), torch.randn(32, 3)
    found = encoding.decode(encoding.encode(CachedOutputs(LOGITS, pooled)))
    assert torch.equal(found.logits, LOGITS)
    assert torch.equal(found.pooled, pooled)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        (Encoding(10), 20),  # 162 views of 50,000 images: 162 MB
        (Encoding(100, dim_pooled=64), 200 + 128),
        (Encoding(1000, top_k=10), 10 * (2 + 2) + 2),  # 42 bytes, as in TinyViT
        (Encoding(40000, "float32", top_k=3), 3 * (4 + 4) + 4),
    ],
)
def test_bytes_of_a_row(encoding, expected):
    assert encoding.row_bytes == expected
    columns = encoding.empty(7)
    assert sum(part.nbytes for part in columns.values()) == 7 * expected


def test_top_k_keeps_its_classes_and_the_mass_of_the_rest():
    found = (encoding := Encoding(10, "float32", top_k=3)).decode(
        encoding.encode(CachedOutputs(LOGITS))
    )
    for row, kept in zip(LOGITS.tolist(), found.logits.tolist(), strict=True):
        order = sorted(range(10), key=lambda k, row=row: -row[k])
        rest = math.fsum(math.exp(row[k]) for k in order[3:])
        total = math.fsum(map(math.exp, row))
        assert [kept[k] for k in order[:3]] == pytest.approx([row[k] for k in order[:3]], abs=1e-6)
        assert math.exp(kept[order[5]]) == pytest.approx(rest / 7, rel=1e-5)
        # The softmax at T = 1: the kept classes and the whole remainder are right.
        assert math.fsum(map(math.exp, kept)) == pytest.approx(total, rel=1e-5)


def test_top_k_overstates_the_rest_at_a_higher_temperature():
    found = (encoding := Encoding(10, "float32", top_k=3)).decode(
        encoding.encode(CachedOutputs(LOGITS))
    )
    top = LOGITS.topk(3).indices
    rest = [1 - (x / 4).softmax(1).gather(1, top).sum(1) for x in (found.logits, LOGITS)]
    assert bool((rest[0] >= rest[1] - 1e-6).all())
    assert float((rest[0] - rest[1]).max()) > 0.01


@pytest.mark.parametrize("bad", [math.nan, math.inf, 65520.0])
@pytest.mark.parametrize("top_k", [None, 3])
def test_what_half_precision_cannot_hold_is_refused(bad, top_k):
    logits = LOGITS.clone()
    logits[3, 4] = bad
    expected = rf"precision=float16: the teacher's outputs reach {bad:g}, past 65504\. Fix"
    with pytest.raises(DataError, match=expected):
        Encoding(10, top_k=top_k).encode(CachedOutputs(logits))


@pytest.mark.parametrize("top_k", [None, 3])
def test_difference_is_relative_to_the_largest_value(top_k):
    encoding = Encoding(10, "float32", top_k=top_k, dim_pooled=2)
    outputs = CachedOutputs(LOGITS, torch.ones(32, 2))
    columns = {name: part.clone() for name, part in encoding.encode(outputs).items()}
    assert float(encoding.difference(columns, outputs).max()) == 0
    columns["logits" if top_k is None else "value"][5, 1] += 0.5
    columns["pooled"][7, 0] -= 0.25
    found = encoding.difference(columns, outputs)
    wanted = LOGITS if top_k is None else LOGITS.topk(3).values
    assert found.nonzero().flatten().tolist() == [5, 7]
    assert float(found[5]) == pytest.approx(0.5 / max(1, float(wanted[5].abs().max())), rel=1e-5)
    assert float(found[7]) == pytest.approx(0.25)


def test_a_near_tie_at_the_end_of_the_top_k_is_no_difference():
    encoding, first = Encoding(4, top_k=2), torch.tensor([[3.0, 1.0, 1.0 - 1e-6, -1.0]])
    second = torch.tensor([[3.0, 1.0 - 1e-6, 1.0, -1.0]])
    columns = encoding.encode(CachedOutputs(first))
    assert float(encoding.difference(columns, CachedOutputs(second))) < 1e-3
