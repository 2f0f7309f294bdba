"""A multirun's page: keys, means and intervals over seeds, the heat map and the best."""

import math

import pytest

from potstill.errors import DataError
from potstill.report.compare import members_of
from potstill.report.read import runs_in
from potstill.report.sweep import heat_map, settings, swept_keys, write_sweep
from tests.support.html_read import Page
from tests.support.sample_runs import ROWS, row, write_json

# temperature, alpha, seed -> validation and test accuracy: the best on test is not the best.
RUNS = [
    (2, 0.5, 0, 0.90, 0.99),
    (2, 0.5, 1, 0.91, 0.98),
    (2, 0.5, 2, 0.92, 0.97),
    (2, 0.9, 0, 0.95, 0.94),
    (2, 0.9, 1, 0.97, 0.96),
    (10, 0.5, 0, 0.80, 0.81),
]


def write(folder, runs=RUNS, extra=()):
    for number, (temperature, alpha, seed, val, test) in enumerate(runs):
        given = [f"temperature={temperature}", f"+alpha={alpha}", f"seed={seed}", *extra]
        rows = [ROWS[0], row(ROWS[2], accuracy=test, val_accuracy=val)]
        write_json(folder / str(number), rows, overrides=given, command="python train.py")
    return folder


def found(folder):
    members = members_of(runs_in(folder))
    keys = swept_keys(members)
    return keys, settings(members, keys, "student", validated=True)


def test_keys_are_what_differs_but_the_seed(tmp_path):
    keys, _ = found(write(tmp_path, extra=["trainer.max_epochs=3"]))
    assert keys == ["temperature", "alpha"]


def test_means_and_intervals_over_seeds(tmp_path):
    _, all_settings = found(write(tmp_path))
    by_values = {setting.values: setting for setting in all_settings}
    three = by_values["2", "0.5"]
    assert three.ranked.mean == pytest.approx(91.0)
    assert three.ranked.half == pytest.approx(4.302652730 / math.sqrt(3))
    assert three.test.mean == pytest.approx(98.0)
    two = by_values["2", "0.9"]
    assert two.ranked.half == pytest.approx(12.7062047 * math.sqrt(2) / math.sqrt(2))
    assert by_values["10", "0.5"].ranked.half is None


def test_heat_map_has_numbers_in_order_and_gaps(tmp_path):
    keys, all_settings = found(write(tmp_path))
    best = max(all_settings, key=lambda setting: setting.ranked.mean)
    table = heat_map(all_settings, keys, best, 1)
    assert (table.down, table.across, table.columns) == ("temperature", "alpha", ["0.5", "0.9"])
    assert [name for name, _ in table.rows] == ["2", "10"]
    heats = [[cell.heat for cell in cells] for _, cells in table.rows]
    assert heats == [[pytest.approx(11 / 16), 1.0], [0.0, 0.0]]
    assert table.rows[1][1][1].setting is None
    least = heat_map(all_settings, keys, best, -1)  # of a score of which less is better
    assert [cell.heat for cell in least.rows[0][1]] == [pytest.approx(5 / 16), 0.0]


def test_further_keys_are_held_at_the_best(tmp_path):
    folder = tmp_path / "sweep"
    for number, (t, a, lr, val) in enumerate(
        [(2, 0.5, 0.1, 0.9), (4, 0.9, 0.1, 0.8), (8, 0.1, 0.1, 0.7), (2, 0.5, 0.2, 0.6)]
    ):
        given = [f"temperature={t}", f"alpha={a}", f"lr={lr}"]
        write_json(folder / str(number), [row(ROWS[2], val_accuracy=val)], overrides=given)
    keys, all_settings = found(folder)
    best = max(all_settings, key=lambda setting: setting.ranked.mean)
    table = heat_map(all_settings, keys, best, 1)
    assert (table.down, table.across, table.fixed) == ("temperature", "alpha", "lr=0.1")
    shown = [cell.setting for _, cells in table.rows for cell in cells if cell.setting]
    assert len(shown) == 3


def test_one_key_has_no_heat_map(tmp_path):
    keys, all_settings = found(write(tmp_path, RUNS[:1] + RUNS[3:4]))
    assert keys == ["alpha"]
    assert heat_map(all_settings, keys, all_settings[0], 1) is None


def test_the_page_names_the_best_by_validation(tmp_path):
    page = Page(write_sweep(write(tmp_path)).read_text())
    text = " ".join(page.text.split())
    assert "Best by validation: temperature=2, alpha=0.9: 96.00 \u00b1 12.71 %" in text
    assert "95.00 \u00b1 12.71 % on the test set" in text
    assert page.table("what to expect")[1][:2] == ["2", "0.9"]
    heat = page.table("The best has a border")
    assert heat[1][1:] == ["91.00 \u00b1 2.48", "96.00 \u00b1 12.71"]
    assert heat[2][1:] == ["80.00", "-"]
    best = [c for t in page.tables for r in t["rows"] for c in r if c[1].get("class") == "best"]
    assert [cell[2] for cell in best] == ["96.00 \u00b1 12.71"]
    assert "./3/report.html" in page.addresses


def test_jobs_without_a_report_and_with_other_data_are_told(tmp_path):
    write(tmp_path)
    (tmp_path / "7" / ".hydra").mkdir(parents=True)
    write_json(tmp_path / "8", ROWS[2:3], data_fingerprint="d" * 64, overrides=["data=cifar10"])
    page = Page(write_sweep(tmp_path).read_text())
    assert "Without a report, and so not counted: 7." in page.text
    assert page.table("why")[1][0] == "8"
    assert "data" not in page.table("what to expect")[0]


def test_without_validation_the_test_set_ranks_and_the_page_says_so(tmp_path):
    for number, accuracy in enumerate((0.8, 0.9)):
        rows = [row(ROWS[2], accuracy=accuracy)]
        write_json(tmp_path / str(number), rows, command=f"python train.py alpha=0.{number}")
    page = Page(write_sweep(tmp_path).read_text())
    assert "Best by test: alpha=0.1: 90.00 %" in page.text
    assert "what is best there looks better than it is" in " ".join(page.text.split())


def test_an_empty_sweep_is_refused(tmp_path):
    with pytest.raises(DataError, match="no finished run in it"):
        write_sweep(tmp_path)
