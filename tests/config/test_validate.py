"""Configs that compose but cannot work."""

import pytest

from potstill.config.compose import Command, configs
from potstill.config.validate import validate
from potstill.errors import ConfigError
from tests.support.places import CONF, CONF_SAMPLE

SAMPLE, REAL = CONF_SAMPLE, CONF


def checked(*overrides, folder=SAMPLE):
    for cfg in configs(Command(folder, overrides=overrides)):
        validate(cfg)


def refusal(*overrides):
    with pytest.raises(ConfigError) as caught:
        checked(*overrides)
    assert len(str(caught.value)) <= 200
    return str(caught.value)


def test_the_sample_and_every_real_experiment_pass():
    checked()
    checked("experiment=alone")
    for experiment in sorted((REAL / "experiment").glob("*.yaml")):
        checked(f"experiment={experiment.stem}", folder=REAL)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("+foo=1", "foo=1: unknown key. Fix: "),
        ("+teacher.epoch=1", "teacher.epoch=1: unknown key. Fix: epochs"),
        ("~alpha", "Interpolation key 'alpha' not found"),
        ("~baseline", "baseline: was removed. Fix: no ~baseline"),
        ("+trainer.max_epoch=3", "Trainer takes no 'max_epoch'. Fix: max_epochs"),
        ("+module.optimizer.momentm=1", "torch.optim.SGD takes no 'momentm'. Fix: momentum"),
        ("+module.heads.kd.tau=1", "module.heads.kd.tau=1: potstill.heads.kd.KD takes no 'tau'"),
        ("module.student._target_=torch.load", "not callable from a config"),
        ("module.student._target_=3", "must be a dotted name"),
        ("+callbacks.a={b:[{_target_:os.system}]}", "callbacks.a: has no _target_"),
        ("temperature=-1", "temperature=-1: must be a number above 0"),
        ("temperature=nan", "temperature=nan: must be finite"),
        ("temperature=[1,2]", "temperature=[1,2]: must be a number above 0 or a schedule"),
        ("temperature={start:4}", "must be a number above 0 or a schedule"),
        ("alpha=1.5", "alpha=1.5: must be null or a number from 0 to 1"),
        ("data.batch_size=0", "data.batch_size=0: must be an integer, 1 or more"),
        ("+trainer.gradient_clip_val=inf", "trainer.gradient_clip_val=inf: must be finite"),
        ("trainer.max_epochs=0", "trainer.max_epochs=0: must be an integer, 1 or more"),
        ("seed=-1", "seed=-1: must be an integer from 0"),
        ("name=???", "name: has no value. Fix: name=..."),
        ("name=${nowhere}", "name: Interpolation key 'nowhere' not found"),
        ("name=${hydra:job.num}", "name: ${hydra:...} is known only once"),
        ("module=none", "module=none: must be a mapping"),
        ("+module.heads.fitnet.weight=1", "module.heads.fitnet: has no _target_"),
    ],
)
def test_each_mistake_is_named(given, message):
    assert message in refusal(given)


def test_a_schedule_may_be_the_temperature():
    checked("temperature={_target_:potstill.heads.common.schedules.Linear,start:4,end:1,epochs:2}")
    message = refusal("temperature={_target_:potstill.heads.common.schedules.Linear,begin:4}")
    assert message.startswith("temperature.begin=4: ")


def test_alpha_and_a_weight_of_its_own_are_giving_both():
    for given in ("module.task_weight=0.1", "module.heads.kd.weight=0.9"):
        line = refusal(given)
        assert line.startswith(f"{given}: alpha=0.5 sets this weight already (giving both)")
        assert "Fix: alpha=null" in line
        checked(given, "alpha=null")


def test_feature_heads_have_a_weight_beside_alpha():
    checked("head@module.heads=[kd,fitnet]", "module.heads.fitnet.weight=0.5")
    checked("module.heads.kd=null")


def test_a_setting_that_nothing_reads_is_refused():
    checked("experiment=alone")
    for given in ("temperature=3", "alpha=0.3"):
        message = refusal("experiment=alone", given)
        assert message == f"{given}: no head in this run reads it. Fix: leave it out"
    assert "temperature=3" in refusal("head@module.heads=[fitnet]", "temperature=3")
    checked("head@module.heads=[fitnet]", "alpha=0.3")
