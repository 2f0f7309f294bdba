"""Runs of the pipeline on fake images, up to the point where something is trained."""

from hydra import compose, initialize_config_dir
from rich.console import Console

from potstill.pipeline.context import begin
from tests.support.places import CONF

SMALL = (
    *("data=fake", "data.image_size=16", "data.batch_size=8", "data.eval_batch_size=32"),
    *("data.val_size=16", "data.train_size=48", "data.test_size=8", "data.num_classes=4"),
    *("trainer.max_epochs=1", "trainer.accelerator=cpu", "+trainer.enable_progress_bar=false"),
    *("callbacks.progress=null", "callbacks.teacher_check=null", "callbacks.interrupt=null"),
)


def started(folder, *overrides):
    """Return the context of a run in `folder`, its data there."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [*SMALL, *overrides, f"teacher.store_dir={folder.parent}/teachers"])
    return begin(cfg, folder, Console(quiet=True))
