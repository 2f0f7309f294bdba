"""Settings of the Trainer that cannot take effect are named before anything is trained."""

import pytest
from lightning.pytorch.loops import training_epoch_loop

from potstill.errors import ConfigError
from potstill.training.fast_loop import FastLoop
from potstill.training.trainer import make_trainer
from tests.pipeline.test_run import SMALL, composed


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+trainer.callbacks=[]", r"trainer\.callbacks=\[\]: set elsewhere. Fix: callbacks="),
        ("+trainer.logger=false", "trainer.logger=False: set elsewhere. Fix: logger="),
        ("+trainer.default_root_dir=here", "Fix: hydra.run.dir="),
        ("+trainer.use_distributed_sampler=false", "Fix: leave it out; the loaders share"),
        ("trainer.devices=0", r"trainer\.devices=0: must be auto, -1 or 1 or more\. Fix"),
        ("trainer.accelerator=mps", r"trainer\.accelerator: .*accelerator is not available.*Fix"),
        ("trainer.precision=17", r"trainer\.precision=17: must be .*Fix"),
    ],
)
def test_what_lightning_would_refuse_or_pass_over(override, said):
    with pytest.raises(ConfigError, match=said):
        make_trainer(composed(*SMALL, override), None, 1)


def test_no_bar_says_which_callback_goes_with_it(tmp_path):
    override = "+trainer.enable_progress_bar=false"
    lines = [line for line in SMALL if "progress" not in line]
    cfg = composed(*lines, override, "trainer.precision=32-true")
    with pytest.raises(
        ConfigError, match=r"trainer\.enable_progress_bar: .*Fix: callbacks\.progress=null as well"
    ):
        make_trainer(cfg, tmp_path / "student", 1)


@pytest.mark.parametrize("loop", ["auto", "fast", "lightning"])
def test_a_fit_runs_the_loop_it_was_told_to(tmp_path, loop):
    trainer = make_trainer(
        composed(*SMALL, f"loop={loop}", "trainer.precision=32-true"), tmp_path, 3
    )
    assert isinstance(trainer.fit_loop.epoch_loop, FastLoop) is (loop != "lightning")
    assert trainer.max_epochs == 3


def test_a_fast_loop_that_cannot_be_is_refused_before_any_fit(monkeypatch):
    monkeypatch.delattr(training_epoch_loop._TrainingEpochLoop, "_build_kwargs")
    with pytest.raises(ConfigError, match=r"loop=fast: Lightning 2\S+ has no .*_build_kwargs"):
        make_trainer(composed(*SMALL, "loop=fast"), None, 1)
