"""Where a run may write, and when it may go on."""

import pytest
from omegaconf import OmegaConf

from potstill.errors import ConfigError, StorageError
from potstill.pipeline.run_folder import check_folder, check_writable


def config(folder, resume=False):
    return OmegaConf.create(
        {"resume": resume, "hydra": {"run": {"dir": str(folder)}, "sweep": {"dir": str(folder)}}}
    )


def test_a_folder_that_can_be_made_passes_and_is_not_made(tmp_path):
    check_folder(config(tmp_path / "a" / "b"), is_sweep=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"hydra\.run\.dir=.*file is a file"):
        check_folder(config(tmp_path / "file" / "run"), is_sweep=False)
    with pytest.raises(StorageError, match=r"hydra\.sweep\.dir="):
        check_folder(config(tmp_path / "file" / "run"), is_sweep=True)


def test_a_folder_that_refuses_files_is_named(tmp_path, monkeypatch):
    # As root every folder can be written, so the file system's refusal is played.
    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(StorageError, match=r"cannot write to .*Permission denied") as caught:
        check_writable(tmp_path / "run", "hydra.run.dir")
    assert caught.value.exit_code == 5


@pytest.mark.parametrize("mark", [".hydra/config.yaml", "report.json", "checkpoints/last.ckpt"])
def test_a_folder_holds_a_run_exactly_if_resume(tmp_path, mark):
    check_folder(config(tmp_path), is_sweep=False)
    with pytest.raises(ConfigError, match=r"^resume=true: .* holds no run"):
        check_folder(config(tmp_path, resume=True), is_sweep=False)
    file = tmp_path / mark
    file.parent.mkdir(exist_ok=True)
    file.write_text("")
    check_folder(config(tmp_path, resume=True), is_sweep=False)
    with pytest.raises(ConfigError, match=r"holds a run already\. Fix: resume=true"):
        check_folder(config(tmp_path), is_sweep=False)


@pytest.mark.parametrize("key", ["run", "sweep"])
@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("/out/${x}", r"/out/\$\{x\}: Interpolation key 'x' not found\. Fix: a folder without"),
        ("/out/\\${x}", r"/out/\$\{x\}: Hydra reads a setting there\. Fix: no \$ before"),
    ],
)
def test_a_setting_in_a_folder_name_that_is_not_there_is_one_line(key, folder, message):
    cfg = OmegaConf.create({"hydra": {key: {"dir": folder}}, "resume": False})
    with pytest.raises(ConfigError, match=rf"^hydra\.{key}\.dir={message}") as raised:
        check_folder(cfg, key == "sweep")
    assert "\n" not in str(raised.value)
