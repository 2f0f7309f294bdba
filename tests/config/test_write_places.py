"""Places that a run writes to, named by files and by commands."""

import pytest

from potstill.config.compose import Command, configs
from potstill.config.typed import typed_in
from potstill.config.write_places import check_places
from potstill.errors import ConfigError
from tests.support.places import CONF_SAMPLE

CIFAR = "++data={{_target_:potstill.data.cifar.CIFAR,root:{root}}}"


def refusal(*lines, typed=()):
    """Return the line of what files would say if they said `lines`, or nothing."""
    (cfg,) = configs(Command(CONF_SAMPLE, overrides=(*lines, *typed)))
    try:
        check_places(cfg, typed_in(tuple(typed)))
    except ConfigError as error:
        return str(error)
    return ""


def test_a_folder_of_downloads_is_one_only_where_something_is_missing(tmp_path):
    line = CIFAR.format(root=tmp_path)
    assert refusal(line).startswith(f"data.root={str(tmp_path)[:30]}")
    (tmp_path / "test_labels.npy").touch()
    assert refusal(line) == ""


@pytest.mark.parametrize(
    ("uri", "passes"),
    [
        ("https://mlflow.lab:5000", True),
        ("sqlite:///outputs/mlflow.db", True),
        ("sqlite:///elsewhere.db", False),
        ("sqlite:////tmp/mlflow.db", False),
        ("file:outputs/mlflow.db", True),
        ("file:./mlruns", False),
        ("mlruns", False),
        ("s3://bucket/runs", False),
    ],
)
def test_an_address_is_the_path_within(uri, passes):
    line = f"+logger.a={{_target_:lightning.pytorch.loggers.MLFlowLogger,tracking_uri:'{uri}'}}"
    assert (refusal(line) == "") is passes
    assert refusal(typed=(line,)) == ""


def test_a_place_within_a_typed_one_is_typed(tmp_path):
    line = f"+callbacks.a={{_target_:mylab.Save,dirpath:{tmp_path}/x}}"
    assert "callbacks.a.dirpath=" in refusal(line)
    assert refusal(line, typed=(f"hydra.run.dir={tmp_path}",)) == ""
    assert refusal(line, typed=(f"teacher.store_dir={tmp_path}/x/",)) == ""
    assert "callbacks.a.dirpath=" in refusal(line, typed=(f"hydra.run.dir={tmp_path}/y",))


def test_a_loggers_folder_is_the_runs_whoever_names_another():
    line = "+logger.a={_target_:mylab.Log,save_dir:outputs/x}"
    fix = "loggers write to the run's folder. Fix: hydra.run.dir=FOLDER"
    assert refusal(line) == refusal(typed=(line,)) == f"logger.a.save_dir=outputs/x: {fix}"
