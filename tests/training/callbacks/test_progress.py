"""What the bar says, as it reaches a terminal."""

import io
import re

import pytest
import rich
from lightning.pytorch.loggers import CSVLogger

from potstill.training.callbacks.progress import Progress
from potstill.training.module import DistillationModule


@pytest.fixture
def shown(tiny, batches, loader, trainer, monkeypatch):
    """Train for three epochs in front of a made-up terminal; return its lines and the trainer."""

    def run(logger):
        terminal, bar = io.StringIO(), Progress()
        monkeypatch.setattr(
            bar, "_console_kwargs", {"file": terminal, "force_terminal": True, "width": 80}
        )
        module = DistillationModule(tiny(4), image_shape=(3, 16, 16))
        built = trainer(max_epochs=3, logger=logger, callbacks=[bar], enable_progress_bar=True)
        built.fit(module, loader(batches), loader(batches))
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
        return re.split(r"[\r\n]+", plain), built

    yield run
    rich.reconfigure()  # the bar has made the terminal everyone's


def test_one_line_names_network_epoch_and_numbers(shown, tmp_path):
    lines, trainer = shown(CSVLogger(tmp_path, name="", version="student"))
    for epoch in (1, 2, 3):
        assert any(line.startswith(f"student {epoch}/3 ") for line in lines)
    assert not any(line.startswith("student 0/3") for line in lines)
    last = next(line for line in reversed(lines) if "loss" in line)
    assert last.startswith("student 3/3 ")
    known = trainer.lightning_module.record.glance.values
    loss, accuracy = known["loss"], known["accuracy"]
    val = trainer.progress_bar_metrics["val_acc"]
    assert last.endswith(f"loss: {loss:.3f} acc: {accuracy:.3f} val: {val:.3f}")
    assert trainer.progress_bar_metrics.keys() == {"val_acc"}  # what is logged costs every step
    assert "4/4" in last
    assert max(map(len, lines)) <= 80


def test_without_a_logger_the_folder_names_it(shown, tmp_path):
    lines, _ = shown(False)
    assert any(line.startswith(f"{tmp_path.name} 1/3 ") for line in lines)
