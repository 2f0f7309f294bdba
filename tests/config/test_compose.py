"""The configs a command stands for, and Hydra's errors as one line each."""

import pytest
from hydra.core.global_hydra import GlobalHydra

from potstill.config.compose import Command, configs
from potstill.errors import ConfigError
from tests.support.places import CONF, CONF_SAMPLE

SAMPLE = CONF_SAMPLE


def composed(*overrides, **settings):
    return list(configs(Command(SAMPLE, overrides=overrides, **settings)))


def refusal(*overrides, **settings):
    with pytest.raises(ConfigError) as caught:
        composed(*overrides, **settings)
    return str(caught.value)


def test_a_run_is_one_config_with_its_overrides():
    (cfg,) = composed("temperature=2", "+module.note=hi")
    assert (cfg.temperature, cfg.module.note, cfg.module.heads.kd.temperature) == (2, "hi", 2)
    assert not GlobalHydra.instance().is_initialized()


def test_a_sweep_has_every_value_once_and_not_their_product():
    jobs = composed("temperature=1,2,4", "seed=range(5,7)", "alpha=0.1", is_sweep=True)
    pairs = [(cfg.temperature, cfg.seed) for cfg in jobs]
    assert pairs == [(1, 5), (2, 5), (4, 5), (1, 6)]
    assert {cfg.alpha for cfg in jobs} == {0.1}


def test_a_sweep_asks_both_ends_of_an_interval_and_the_values_of_a_glob():
    assert [cfg.alpha for cfg in composed("alpha=interval(0.2,0.8)", is_sweep=True)] == [0.2, 0.8]
    jobs = composed("model@module.student=glob(*)", is_sweep=True)
    assert {cfg.module.student._target_ for cfg in jobs} == {
        "torch.nn.Linear",
        "potstill.models.small_cnn.small_cnn",
    }


def test_a_sweep_written_in_a_file_counts_unless_the_command_says_otherwise(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "seeds.yaml").write_text(
        "# @package _global_\nhydra: {sweeper: {params: {seed: '3,4'}}}\n"
    )
    jobs = composed("experiment=seeds", is_sweep=True, more_dirs=(tmp_path,))
    assert [cfg.seed for cfg in jobs] == [3, 4]
    jobs = composed("experiment=seeds", "seed=7", is_sweep=True, more_dirs=(tmp_path,))
    assert [cfg.seed for cfg in jobs] == [7]


def test_further_config_folders_bring_options(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("_target_: torch.nn.Identity\n")
    (cfg,) = composed("model@module.student=mine", more_dirs=(tmp_path,))
    assert cfg.module.student == {"_target_": "torch.nn.Identity"}
    assert "Fix: mine" in refusal("model@module.student=mime", more_dirs=(tmp_path,))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("temprature=3", "unknown key 'temprature'. Fix: temperature"),
        ("teacher.epoch=3", "unknown key 'epoch' in teacher. Fix: epochs"),
        (
            "module.student.num_clases=3",
            "unknown key 'num_clases' in module.student. Fix: num_class",
        ),
        ("module.heads.kd.temprature=3", "in module.heads.kd. Fix: temperature"),
        ("module.heads.dkd.beta=3", "unknown key 'dkd' in module.heads. Fix: kd"),
        ("hydra.run.dri=x", "unknown key 'dri' in hydra.run. Fix: dir"),
        ("trainer.max_steps=5", "is not in the config yet. Fix: +trainer.max_steps=5"),
        ("model=linear", "Fix: one of model@module.student, model@module.teacher"),
        ("optimizer=sgd", "Fix: optimizer@module.optimizer"),
        ("model@module.student=tinny", "model has no option 'tinny'. Fix: tiny"),
        ("experiment=alnoe", "experiment has no option 'alnoe'. Fix: alone"),
        ("head@module.heads=[kd,fitnit]", "head has no option 'fitnit'. Fix: fitnet"),
        ("alpha=abc", "'abc' of type 'str' could not be converted to Float. Fix: alpha=0.5"),
        ("seed=1.5", "could not be converted to Integer. Fix: seed=0"),
        ("seed=null", "field 'seed' is not Optional. Fix: seed=0"),
        ("teacher=3", "is not a subclass of TeacherSettings"),
        ("+seed=3", "An item is already at 'seed'. Fix: the same without the +"),
        ("~nothing", "does not exist. Fix: a key that --cfg job prints"),
        ("seed=1,2", "Fix: -m to sweep over the values"),
        ("seed=range(1,3)", "Fix: -m to sweep over the values"),
        ("seed", "is not key=value"),
        ("a.b=[1", "is not key=value"),
        ("=3", "has no key. Fix: key=3"),
    ],
)
def test_each_mistake_is_one_line_that_names_it_and_a_fix(given, message):
    line = refusal(given)
    assert line.startswith(f"{given}: ")
    assert message in line
    assert "\n" not in line
    assert len(line) <= 200


def test_the_override_to_blame_is_found_among_others_in_any_order():
    # in_features exists only once the group further right is chosen.
    given = ["module.student.in_features=3", "sed=1", "model@module.student=linear", "alpha=0.1"]
    assert refusal(*given).startswith("sed=1: unknown key 'sed'. Fix: seed")
    given.remove("sed=1")
    assert composed(*given)[0].module.student.in_features == 3


def test_a_swept_value_is_named_alone():
    assert refusal("alpha=0.5,lots", is_sweep=True).startswith("alpha=lots: ")
    assert refusal("alpha=0.5,", "seed=1,2", is_sweep=True).startswith("alpha=0.5,: is not key")


def test_mistakes_in_the_files_themselves(tmp_path):
    (tmp_path / "train.yaml").write_text("defaults: [schema, {data: digits}, _self_]\nseed: 0\n")
    broken = Command(tmp_path)
    with pytest.raises(ConfigError, match="data=digits: data has no option 'digits'"):
        list(configs(broken))
    (tmp_path / "train.yaml").write_text("defaults: [schema, _self_]\nsed: 0\n")
    with pytest.raises(ConfigError, match="sed: unknown key 'sed'"):
        list(configs(broken))
    (tmp_path / "train.yaml").write_text("seed: [1\n")
    with pytest.raises(ConfigError, match=r"train\.yaml.*Fix: that file's YAML"):
        list(configs(broken))
    with pytest.raises(ConfigError, match=r"config has no option 'tran'\. Fix: train"):
        list(configs(Command(tmp_path, config_name="tran")))


@pytest.mark.parametrize(
    ("line", "now"),
    [
        ("stages.pruned.callbacks.prune.macs=0.3", "stages.pruned.transforms.prune.macs=0.3"),
        ("stages.int8-ptq.quantize.n_batches=1", "stages.int8-ptq.transforms.quantize.n_batches=1"),
        (
            "criterion@stages.pruned.callbacks.prune.criterion=taylor",
            "criterion@stages.pruned.transforms.prune.criterion=taylor",
        ),
    ],
)
def test_the_former_place_of_a_transform_is_one_line_with_the_new(line, now):
    with pytest.raises(ConfigError) as caught:
        list(configs(Command(CONF, overrides=("experiment=compress_digits", line))))
    assert str(caught.value) == f"{line}: transforms have a key of their own. Fix: {now}"


def test_a_file_with_the_former_place_of_a_transform_is_one_line_too(tmp_path):
    (tmp_path / "stage").mkdir()
    (tmp_path / "stage" / "mine.yaml").write_text("epochs: 0\nquantize: {_target_: x.Y}\n")
    given = Command(CONF, overrides=("+stage@stages.a=mine",), more_dirs=(tmp_path,))
    with pytest.raises(ConfigError, match=r"Fix: stages\.a\.transforms\.quantize$") as caught:
        list(configs(given))
    assert "\n" not in str(caught.value)


def test_a_group_is_left_out_by_null_as_in_a_defaults_list():
    command = Command(CONF, overrides=("experiment=null", "head@module.heads=null", "alpha=null"))
    assert command.overrides == ("~experiment", "head@module.heads=[]", "alpha=null")
    [cfg] = configs(command)
    assert "heads" not in cfg.module
    assert cfg.trainer.max_epochs == 100  # experiment=digits sets 20
    [cfg] = configs(Command(CONF, overrides=("model@module.teacher=null",)))
    assert "teacher" not in cfg.module
