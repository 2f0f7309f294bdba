"""metrics.csv: the rows of Lightning's own logger, in a file that is never half a file."""

import csv
import os

import pytest
from lightning.pytorch.loggers import CSVLogger

from potstill.errors import StorageError
from potstill.training.loggers.csv import MetricsFile

ROWS = [({"b": 1.5, "epoch": 0}, 3), ({"a": 0.25, "epoch": 0}, 3), ({"b": 2.0, "c": 7}, 9)]


def log(kind, folder, flush):
    logger = kind(folder, name="", version="run")
    for row, step in ROWS:
        logger.log_metrics(row, step)
        if flush:
            logger.save()
    logger.finalize("success")
    with (folder / "run" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("flush", [True, False])
def test_the_rows_are_those_of_lightnings_logger(tmp_path, flush):
    ours = log(MetricsFile, tmp_path / "ours", flush)
    assert ours == log(CSVLogger, tmp_path / "theirs", flush)
    assert [row["step"] for row in ours] == ["3", "3", "9"]


def test_a_flush_never_leaves_half_a_file(tmp_path, monkeypatch):
    logger = MetricsFile(tmp_path, name="", version="run")
    logger.log_metrics({"a": 1.0}, 0)
    logger.save()
    before = (tmp_path / "run" / "metrics.csv").read_bytes()
    logger.log_metrics({"b": 1.0}, 1)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError):
        logger.save()
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == before
    monkeypatch.undo()
    logger.save()
    assert (tmp_path / "run" / "metrics.csv").read_text() == "a,b,step\n1.0,,0\n,1.0,1\n"


def test_a_killed_flush_is_tidied_up(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".metrics.csv.4711").write_text("half")
    log(MetricsFile, tmp_path, flush=True)
    assert os.listdir(tmp_path / "run") == ["metrics.csv"]
