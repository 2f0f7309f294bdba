"""Signal-to-quantization-noise ratios by hand."""

import math

import pytest
import torch

from potstill.measure.sqnr import centred_sqnr_db, sqnr_db

REFERENCE = torch.tensor([[3.0, 4.0], [3.0, 4.0]])


def test_sqnr_by_hand():
    other = torch.tensor([[3.5, 4.0], [3.0, 3.5]])  # 50 over 0.5
    assert sqnr_db(REFERENCE, other) == pytest.approx(20.0)
    assert sqnr_db(REFERENCE, REFERENCE) == math.inf
    assert sqnr_db(torch.zeros(1, 2), torch.ones(1, 2)) == -math.inf
    assert math.isnan(sqnr_db(REFERENCE, REFERENCE * math.nan))


def test_an_offset_of_all_classes_is_neither_signal_nor_noise():
    other = torch.tensor([[3.5, 4.0], [3.0, 3.5]])
    # (-.5, .5) twice: 1; differences (.25, -.25), (-.25, .25): .25
    by_hand = 10 * math.log10(1.0 / 0.25)
    assert centred_sqnr_db(REFERENCE, other) == pytest.approx(by_hand)
    offsets = torch.tensor([[100.0], [-7.0]])
    assert centred_sqnr_db(REFERENCE + 50, other + offsets) == pytest.approx(by_hand)
    assert centred_sqnr_db(REFERENCE + 50, REFERENCE) == math.inf
