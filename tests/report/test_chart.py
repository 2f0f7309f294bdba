"""True against predicted values, read back from the drawing and in words."""

from potstill.report.chart import draw_chart, in_words

CHART = {
    "title": "Predicted against true",
    "x": "true (mm)",
    "y": "predicted (mm)",
    "points": {"teacher": ([1.0, 2.0], [1.0, 2.0]), "student": ([1.0, 2.0], [1.5, 2.25])},
}


def test_words_say_how_far_the_points_lie_from_the_diagonal():
    assert in_words(CHART) == (
        "teacher: 2 points, 0 from the diagonal on average; "
        "student: 2 points, 0.375 from the diagonal on average."
    )


def test_each_network_has_the_colour_of_its_row():
    svg = draw_chart(CHART, ["teacher", "baseline", "student"])
    assert "var(--series-0)" in svg
    assert "var(--series-1)" not in svg
    assert "var(--series-2)" in svg
    for text in ("true (mm)", "predicted (mm)", "Predicted against true", "0.375 from"):
        assert text in svg
