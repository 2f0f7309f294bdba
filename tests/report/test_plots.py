"""What the images of a test show, read back from the drawn figure."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from potstill.measure.confusion import of_matrix
from potstill.report.plots import confusion_figure, reliability_figure
from potstill.report.style import as_png


def texts(axes):
    return {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in axes.texts}


def test_confusion_shows_percentages_of_each_true_class():
    counts = of_matrix([[300, 100, 0], [1, 998, 1], [0, 0, 0]])
    axes = confusion_figure(counts, ["cat", "dog", "owl"]).axes[0]
    shown = axes.images[0].get_array().filled(np.nan)
    np.testing.assert_allclose(shown[:2], [[75, 25, 0], [0.1, 99.8, 0.1]])
    assert np.isnan(shown[2]).all()  # a class without an image has no percentages
    assert texts(axes) == {
        (0, 0): "75",
        (0, 1): "25",
        (1, 0): "<1",
        (1, 1): "100",
        (1, 2): "<1",
    }
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "owl"]


@pytest.mark.parametrize(("classes", "numbers", "names"), [(20, 20, 20), (21, 0, 21), (100, 0, 0)])
def test_confusion_of_many_classes_leaves_out_what_cannot_be_read(classes, numbers, names):
    labels = [f"class{k}" for k in range(classes)]
    axes = confusion_figure(of_matrix(np.eye(classes, dtype=int)), labels).axes[0]
    assert len(axes.texts) == numbers
    assert sum(t.get_text() in labels for t in axes.get_xticklabels()) == names


def test_reliability_bars_are_accuracies_and_shares():
    nan = float("nan")
    bins = {"confidence": [nan, 0.4, 0.9], "accuracy": [nan, 0.5, 0.75], "count": [0, 2, 6]}
    upper, lower = reliability_figure(bins).axes
    assert [bar.get_height() for bar in upper.patches] == [0, 50, 75]
    assert [bar.get_height() for bar in lower.patches] == [0, 25, 75]
    assert [bar.get_x() for bar in upper.patches] == pytest.approx([0, 100 / 3, 200 / 3])


def test_png_is_opaque_white():
    data = as_png(confusion_figure(of_matrix(np.eye(3, dtype=int)), list("abc")))
    assert imread(io.BytesIO(data))[0, 0].tolist() == [1, 1, 1, 1]
