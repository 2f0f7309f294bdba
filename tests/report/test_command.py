"""The command: which page it writes, where, and its one line of error."""

import subprocess
import sys

import pytest

from potstill.report.command import main
from tests.support.sample_runs import ROWS, write_json


def text(path):
    return path.read_text()


def test_one_run_writes_its_page_beside_its_record(tmp_path, capsys):
    folder = write_json(tmp_path / "run")
    assert main([str(folder)]) == 0
    assert capsys.readouterr().out.strip().endswith("run/report.html")
    assert "All measurements" in text(folder / "report.html")


def test_two_runs_write_one_page_into_the_common_folder(tmp_path, capsys, monkeypatch):
    write_json(tmp_path / "runs" / "a")
    write_json(tmp_path / "runs" / "b", ROWS[:3], data_fingerprint="e" * 64, dataset="CIFAR10")
    monkeypatch.chdir(tmp_path)
    assert main(["runs/a", "runs/b"]) == 0
    assert capsys.readouterr().out == "runs/report.html\n"
    page = text(tmp_path / "runs" / "report.html")
    assert "Cannot be compared" in page
    assert "other data: CIFAR10, not Digits" in page


def test_out_says_where(tmp_path, capsys):
    folder = write_json(tmp_path / "run")
    assert main([str(folder), "--out", str(tmp_path / "new" / "page.html")]) == 0
    assert (tmp_path / "new" / "page.html").is_file()
    assert not (folder / "report.html").exists()


def test_a_multirun_gets_its_own_page_and_other_folders_a_comparison(tmp_path):
    for name in ("0", "1"):
        write_json(tmp_path / name, overrides=[f"alpha=0.{name}"])
    main([str(tmp_path)])
    assert "2 runs compared" in text(tmp_path / "report.html")
    (tmp_path / "multirun.yaml").touch()
    main([str(tmp_path)])
    assert "Settings, best first" in text(tmp_path / "report.html")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "error: the following arguments are required: DIR. Fix: potstill report DIR"),
        (["--color", "x"], 2, "error: "),
        (["nowhere"], 3, "error: nowhere: no such folder. Fix: "),
        (["."], 3, "error: .: no finished run. Fix: "),
    ],
)
def test_a_mistake_is_one_line(arguments, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_a_page_that_cannot_be_written_is_exit_5(tmp_path, capsys):
    folder = write_json(tmp_path / "run")
    (tmp_path / "file").touch()
    assert main([str(folder), "--out", str(tmp_path / "file" / "page.html")]) == 5
    assert "cannot be written" in capsys.readouterr().err


def test_it_starts_without_torch(tmp_path):
    folder = write_json(tmp_path / "run")
    code = "import sys; from potstill.report.command import main; main(sys.argv[1:])"
    code += "; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, str(folder)], check=False).returncode == 0
