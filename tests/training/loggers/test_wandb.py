"""W&B's runs, offline: one for each network, whichever is open."""

import pytest

from potstill.training.loggers.wandb import finish, log_summary, wandb_logger


@pytest.fixture
def loggers(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    made = [wandb_logger(tmp_path / n, n, "group", offline=True) for n in ("student", "baseline")]
    yield made
    finish(made)


def test_a_student_stays_open_while_the_baseline_comes_and_goes(loggers, tmp_path, capfd):
    student, baseline = loggers
    student.log_metrics({"loss": 1.0}, step=0)
    baseline.log_metrics({"loss": 2.0}, step=0)
    assert baseline.experiment.summary["loss"] == 2.0
    finish([baseline])
    student.log_metrics({"loss": 0.5}, step=1)
    confusion = tmp_path / "confusion.png"
    confusion.write_bytes(PNG)
    log_summary([student, object()], [{"name": "student", "accuracy": 0.5}], tmp_path)
    assert student.experiment.id != baseline.experiment.id
    assert student.experiment.summary["loss"] == 0.5
    assert student.experiment.summary["table"]["ncols"] == 2
    assert student.experiment.name == "student"
    for name in ("student", "baseline"):
        assert len(list(tmp_path.glob(f"{name}/wandb/offline-run-*/*.wandb"))) == 1
    assert capfd.readouterr().err == ""


PNG = bytes.fromhex(  # one white pixel
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c63f80f000101010018dd8db00000000049454e44ae426082"
)
