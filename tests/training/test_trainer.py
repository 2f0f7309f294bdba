"""Settings of the Trainer that cannot take effect are named before anything is trained."""

import pytest

from potstill.errors import ConfigError
from potstill.training.fast_loop import LeanLoop
from potstill.training.trainer import make_trainer
from tests.pipeline.test_run import SMALL, composed


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+trainer.callbacks=[]", r"trainer\.callbacks=\[\]: set elsewhere. Fix: callbacks="),
        ("+trainer.logger=false", "trainer.logger=False: set elsewhere. Fix: logger="),
        ("+trainer.default_root_dir=here", "Fix: hydra.run.dir="),
        ("+trainer.use_distributed_sampler=false", "Fix: leave it out; the loaders share"),
        ("trainer.devices=0", r"trainer: `Trainer\(devices=0\)` value is not a valid .*Fix"),
        ("trainer.accelerator=mps", "trainer: .*accelerator is not available.*Fix"),
        ("trainer.precision=17", "trainer: Precision 17 is invalid.*Fix"),
    ],
)
def test_what_lightning_would_refuse_or_pass_over(override, said):
    with pytest.raises(ConfigError, match=said):
        make_trainer(composed(*SMALL, override), None, 1)


def test_no_bar_says_which_callback_goes_with_it(tmp_path):
    override = "+trainer.enable_progress_bar=false"
    cfg = composed(*(line for line in SMALL if "progress" not in line), override)
    with pytest.raises(ConfigError, match=r"trainer: .*Fix: callbacks\.progress=null as well"):
        make_trainer(cfg, tmp_path / "student", 1)


def test_a_fit_runs_the_lean_loops(tmp_path):
    trainer = make_trainer(composed(*SMALL), tmp_path / "student", 3)
    assert isinstance(trainer.fit_loop.epoch_loop, LeanLoop)
    assert trainer.max_epochs == 3
