"""The small diagram and its words, against bins written out."""

import pytest

from potstill.report.reliability import bins_in_words, reliability_panel

BINS = {"confidence": [None, 0.6, 0.95], "accuracy": [None, 0.5, 1.0], "count": [0, 2, 6]}


def test_bars_are_accuracies():
    axes = reliability_panel(BINS, 1).axes[0]
    assert [bar.get_height() for bar in axes.patches] == [0, 50, 100]
    assert [bar.get_x() for bar in axes.patches] == pytest.approx([0, 100 / 3, 200 / 3])


def test_words():
    assert bins_in_words(BINS) == (
        "25 % of the images at 60 % confidence are 50 % right; "
        "75 % of the images at 95 % confidence are 100 % right."
    )
