"""Networks over seeds against scipy, and the sentences of a sweep."""

import numpy as np
import pytest
from scipy import stats

from potstill.report.read import read_run
from potstill.report.seeds import few_labels, network_means, verdict
from tests.support.sample_runs import ROWS, row, write_json

BASE, OURS = [0.91, 0.84, 0.90, 0.88, 0.86], [0.98, 0.986, 0.979, 0.991, 0.97]


def runs(folder, base=BASE, ours=OURS, **meta):
    for seed, (one, two) in enumerate(zip(base, ours, strict=True)):
        rows = [ROWS[0], row(ROWS[1], accuracy=one), row(ROWS[2], accuracy=two)]
        shared = {"teacher_sha256": "one", **meta}
        write_json(folder / str(seed), rows, overrides=[f"seed={seed}"], command="", **shared)
    return [read_run(folder / str(seed)) for seed in range(len(base))]


def test_means_and_gains_are_scipys(tmp_path):
    teacher, base, ours = network_means(runs(tmp_path))
    assert (teacher.test.seeds, teacher.test.half, teacher.gain) == (1, None, None)
    assert base.gain is None
    for found, values in ((base.test, BASE), (ours.test, OURS)):
        low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
        assert found.mean - found.half == pytest.approx(100 * low)
        assert found.mean + found.half == pytest.approx(100 * high)
    paired = stats.ttest_rel(OURS, BASE).confidence_interval(0.95)
    assert ours.gain.mean - ours.gain.half == pytest.approx(100 * paired.low)
    assert ours.gain.mean + ours.gain.half == pytest.approx(100 * paired.high)
    assert ours.resolved


def test_teachers_of_several_seeds_are_several(tmp_path):
    found = runs(tmp_path)
    found[1].meta["teacher_sha256"] = "another"
    assert network_means(found)[0].test.seeds == 5


@pytest.mark.parametrize(
    ("ours", "text"),
    [
        (OURS, "student: 10.32 ± 3.74 points better than baseline (mean over 5 seeds"),
        ([value - 0.2 for value in BASE], "student: 20.00 ± 0.00 points worse than baseline"),
        ([0.90, 0.85, 0.89, 0.89, 0.86], "student and baseline: no difference resolved"),
    ],
)
def test_verdict(tmp_path, ours, text):
    assert text in verdict(runs(tmp_path, ours=ours))


def test_sentence_of_few_labels(tmp_path):
    assert few_labels(runs(tmp_path / "all")[0]) == ""
    found = runs(tmp_path / "few", num_labelled=50, num_train=1257)[0]
    assert few_labels(found).startswith(
        "50 of 1,257 training images have a label; for the other 1,207"
    )
