"""What a run is, when it may go on, and who holds its folder."""

import logging
import os

import pytest
import torch

from potstill.config import plugins
from potstill.errors import ConfigError, DataError
from potstill.training.checkpoints.identity import (
    compare,
    environment,
    held,
    identity,
    load_identity,
    save_identity,
)

SETTINGS = {
    "seed": 0,
    "resume": True,
    "resume_allow": [],
    "threads": 2,
    "data": {"root": "here", "num_workers": 4, "crop_padding": 4, "mean": [0.5, 0.5, 0.5]},
    "module": {"optimizer": {"lr": 0.1}, "heads": {}},
    "trainer": {"log_every_n_steps": 10, "precision": "32-true"},
    "callbacks": {"progress": None, "checkpoint": {"every_n_steps": 5, "monitor": "val/loss"}},
    "logger": {"wandb": {"entity": "me"}},
}
FLAT = {
    "seed": 0,
    "data.crop_padding": 4,
    "data.mean": [0.5, 0.5, 0.5],
    "module.optimizer.lr": 0.1,
    "module.heads": {},
    "trainer.precision": "32-true",
    "callbacks.checkpoint.monitor": "val/loss",
    "data.fingerprint": "abc",
}


def test_settings_are_flat_without_those_that_change_nothing():
    assert identity(SETTINGS, {"data.fingerprint": "abc"}) == FLAT


def test_equal_runs_go_on():
    assert compare(FLAT, dict(FLAT)) == []


def test_every_change_is_named_old_and_new_with_the_way_out():
    new = FLAT | {"module.optimizer.lr": 0.01, "seed": 1, "more": True}
    del new["data.crop_padding"]
    with pytest.raises(ConfigError) as caught:
        compare(FLAT, new)
    assert str(caught.value) == (
        "resume=true: seed: 0 -> 1, data.crop_padding: 4 -> None, module.optimizer.lr: 0.1 -> "
        "0.01, more: None -> True. Fix: the old values, or "
        "resume_allow=[seed,data.crop_padding,module.optimizer.lr,more]"
    )


def test_allow_lets_through_a_key_or_all_under_it_and_no_other():
    new = FLAT | {"module.optimizer.lr": 0.01, "seed": 1}
    assert compare(FLAT, new, ["module.optimizer", "seed"]) == ["seed", "module.optimizer.lr"]
    with pytest.raises(ConfigError, match=r"^resume=true: seed: 0 -> 1\. Fix"):
        compare(FLAT, new, ["module.optimizer.lr"])
    assert compare(FLAT, FLAT, ["seed"]) == []  # the same command again


def test_an_unknown_entry_of_allow_is_an_error():
    with pytest.raises(ConfigError, match=r"resume_allow=sed: no such setting\. Fix: one of seed"):
        compare(FLAT, FLAT, ["sed"])
    with pytest.raises(ConfigError, match=r"resume_allow=module\.opt: no such"):
        compare(FLAT, FLAT, ["module.opt"])


def test_another_machine_is_a_warning(caplog):
    old = FLAT | {"environment.threads": 2, "environment.torch": "2.14.1"}
    with caplog.at_level(logging.WARNING):
        assert compare(old, old | {"environment.threads": 1}) == []
    assert [r.getMessage() for r in caplog.records] == ["resumes, not bit-exact: threads 2 -> 1"]


def test_the_environment_is_what_torch_says():
    found = environment()
    assert found["environment.threads"] == torch.get_num_threads()
    assert found["environment.torch"] == torch.__version__.partition("+")[0]


def test_an_identity_is_read_as_it_was_written(tmp_path):
    assert load_identity(tmp_path) is None
    save_identity(tmp_path, FLAT)
    assert load_identity(tmp_path) == FLAT
    assert compare(load_identity(tmp_path), FLAT) == []
    (tmp_path / "identity.json").write_text("{")
    with pytest.raises(DataError, match=r"identity\.json: damaged"):
        load_identity(tmp_path)


def test_who_holds_a_folder_tidies_it_up(tmp_path):
    (tmp_path / "student").mkdir()
    names = [".report.md.4711", "student/.metrics.csv.12", ".hydra", "student/notes.12", ".env"]
    for name in names:
        (tmp_path / name).write_text("x")
    with held(tmp_path):
        found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {".lock", ".hydra", "student/notes.12", ".env"}


def in_child(task):
    """Return the exit code of a forked process: 7 for ConfigError."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        task()
        code = 0
    except ConfigError:
        code = 7
    finally:
        os._exit(code)


def test_one_process_holds_a_folder_and_death_lets_go(tmp_path):
    def hold():
        with held(tmp_path):
            pass

    def hold_and_die():
        with held(tmp_path):
            os.kill(os.getpid(), 9)

    with held(tmp_path):
        assert in_child(hold) == 7
    assert in_child(hold) == 0
    assert in_child(hold_and_die) == -9
    assert in_child(hold) == 0


def test_other_code_of_a_plugin_is_another_run_unless_allowed(plugin):
    folder = plugin({"parts.py": "x = 1\n"})
    old = identity({"plugins": ["a/mylab"], "seed": 0}, {})
    assert set(old) == {"plugins.mylab", "seed"}
    assert compare(old, identity({"plugins": ["elsewhere/mylab"], "seed": 0}, {})) == []
    (folder / "parts.py").write_text("x = 2\n")
    assert compare(old, identity({"seed": 0}, {})) == []  # the code that this process runs
    plugins._sha256.cache_clear()
    new = identity({"plugins": ["a/mylab"], "seed": 0}, {})
    with pytest.raises(ConfigError, match=r"resume=true: plugins\.mylab: \w+ -> \w+\. Fix: .*"):
        compare(old, new)
    assert compare(old, new, ["plugins"]) == ["plugins.mylab"]
    assert compare(old, new, ["plugins.mylab"]) == ["plugins.mylab"]
