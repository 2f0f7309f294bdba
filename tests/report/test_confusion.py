"""Confusions counted by hand, and the image of many classes read back."""

import base64
import io

import numpy as np
import pytest
from matplotlib.image import imread

from potstill.measure.confusion import of_matrix
from potstill.report.confusion import heat_map, lost_most, most_confused, shares

COUNTS = of_matrix([[8, 2, 0], [1, 5, 4], [0, 0, 0]])
NAMES = ["cat", "dog", "owl"]


def test_mistakes_by_how_often():
    assert most_confused(COUNTS, NAMES) == [
        ("dog", "owl", 4, 10),
        ("cat", "dog", 2, 10),
        ("dog", "cat", 1, 10),
    ]
    assert most_confused(COUNTS, NAMES, most=1) == [("dog", "owl", 4, 10)]
    assert most_confused(of_matrix([[3, 0], [0, 2]]), NAMES[:2]) == []


def test_classes_that_lost_worst_first():
    before, after = [0.9, 0.8, None, 0.7], [0.85, 0.5, 0.1, 0.7]
    found = lost_most(before, after, [20, 10, 5, 7], ["a", "b", "c", "d"])
    assert [(lost.name, lost.points, lost.support) for lost in found] == [
        ("b", pytest.approx(-30), 10),
        ("a", pytest.approx(-5), 20),
    ]


def test_shares_of_each_true_class():
    assert shares(COUNTS.matrix()).tolist() == [[0.8, 0.2, 0], [0.1, 0.5, 0.4], [0, 0, 0]]


def test_image_has_a_pixel_for_each_cell_clear_where_nothing_is():
    kind, data = heat_map(COUNTS).split(",")
    assert kind == "data:image/png;base64"
    alpha = imread(io.BytesIO(base64.b64decode(data)))[..., 3]
    np.testing.assert_allclose(alpha, np.sqrt(shares(COUNTS.matrix())), atol=1 / 255)


def test_an_image_of_very_many_classes_is_no_larger():
    counts = np.zeros((1200, 1200), dtype=int)
    counts[5, 900] = 3  # in groups of three classes: row 1, column 300
    counts[4, 4] = 1
    alpha = imread(io.BytesIO(base64.b64decode(heat_map(of_matrix(counts)).split(",")[1])))[..., 3]
    assert alpha.shape == (400, 400)
    assert {tuple(place) for place in np.argwhere(alpha)} == {(1, 300), (1, 1)}
    assert alpha[1, 300] == pytest.approx(0.75**0.5, abs=1 / 255)
