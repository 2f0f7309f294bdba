"""Faults in each phase of a whole run: a rank dies, the parent dies, the disk is full."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fault_kinds import Outcome

from potstill.errors import StorageError

PROGRAM = Path(__file__).with_name("fault_program.py")
RANKED = ("data", "teacher", "training", "pruning", "report")
STORED = ("teacher", "checkpoint", "training", "pruning", "report")
LIMITS = (8_000, 400_000)  # bytes: less than any checkpoint, and less than a page or a network
SETTINGS = (
    *("data=fake", "data.image_size=16", "data.batch_size=4", "data.eval_batch_size=8"),
    *("data.val_size=8", "data.train_size=32", "data.test_size=8", "data.num_classes=4"),
    *("model@module.teacher=small_student", "model@module.student=small_student"),
    *("trainer.max_epochs=2", "teacher.epochs=1", "baseline=false", "trainer.accelerator=cpu"),
    *("+trainer.enable_progress_bar=false", "callbacks.progress=null"),
    *("callbacks.teacher_check=null", "callbacks.checkpoint.every_n_steps=1"),
    *("+stage@stages.pruned=prune", "stages.pruned.epochs=1"),
)


class Command:
    """A run in a folder, with a fault or without."""

    def __init__(self, folder: Path, ranks: int, fault: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.mark = folder, folder / "mark"
        resumes = (folder / "run" / "config.yaml").is_file()
        places = (f"hydra.run.dir={folder}/run", f"teacher.store_dir={folder}/teachers")
        own = (f"trainer.devices={ranks}", f"resume={str(resumes).lower()}")
        if not resumes and (folder / "run").exists():  # it died before it was a run
            (folder / "run").rename(folder / f"early-{time.time()}")
        known: Mapping[str, str] = os.environ
        environment = {
            **known,
            "FAULT_MARK": str(self.mark),
            "FAULT": fault,
            "OMP_NUM_THREADS": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *SETTINGS, *places, *own],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self) -> tuple[int, list[str], float]:
        """Return exit code, lines on stderr, and seconds from the fault until all were gone."""
        lines = self._lines()
        while self.alive():
            time.sleep(0.05)
        since = float(self.mark.read_text()) if self.mark.is_file() else time.time()
        self.mark.unlink(missing_ok=True)
        return self.process.returncode, lines, time.time() - since

    def _lines(self) -> list[str]:
        return self.process.communicate()[1].splitlines()

    def kill_parent(self) -> None:
        """SIGKILL the process that started the others, once they train."""
        while not list((self.folder / "run").glob("*/checkpoints/*.json")):
            if self.process.poll() is not None:
                return
            time.sleep(0.05)
        self.mark.write_text(str(time.time()))
        self.process.send_signal(signal.SIGKILL)

    def alive(self) -> list[int]:
        """Return the processes of the command that still run, by what their environment holds."""
        wanted, found = f"FAULT_MARK={self.mark}".encode(), []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                is_zombie = (path / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
                mine = wanted in (path / "environ").read_bytes().split(b"\0")
            except OSError:  # it has just ended
                continue
            if mine and not is_zombie:
                found.append(int(path.name))
        return found


def weights(folder: Path) -> dict[str, str]:
    """Return the sha256 of the weights of every network that a run kept."""
    found = sorted((folder / "run").glob("*/*.safetensors"))
    return {str(p.parent.name): hashlib.sha256(_tensors(p)).hexdigest() for p in found}


def _tensors(path: Path) -> bytes:
    """Return a safetensors file without its header, which tells the folder and the time."""
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def _finished(folder: Path, ranks: int) -> dict[str, str]:
    code, lines, _ = Command(folder, ranks).finish()
    if code:
        raise RuntimeError("\n".join(lines))
    return weights(folder)


def _count(outcome: Outcome, folder: Path, ranks: int, expected: dict[str, str]) -> None:
    outcome.runs += 1
    outcome.exact += _finished(folder, ranks) == expected
    outcome.leaked += sum(p.name != ".lock" for p in (folder / "run").rglob(".*") if p.is_file())


def ranks_die(root: Path, rounds: int = 1, phases: Sequence[str] = RANKED) -> Outcome:
    """SIGKILL either rank in each phase: one line, the other gone soon, and the rest exact."""
    outcome = Outcome()
    expected = _finished(root / "alone", 2)
    for number in range(rounds):
        for phase in phases:
            folder = root / f"{phase}-{number}"
            code, lines, gone = Command(folder, 2, f"{phase}:die:{1 - number % 2}").finish()
            outcome.kills += 1
            outcome.exits += code == 128 + signal.SIGKILL and len(lines) == 1
            outcome.gone = max(outcome.gone, round(gone, 1))
            _count(outcome, folder, 2, expected)
    return outcome


def parent_dies(root: Path, rounds: int = 1) -> Outcome:
    """SIGKILL the process that started the two others."""
    outcome = Outcome()
    expected = _finished(root / "alone", 2)
    for number in range(rounds):
        folder = root / f"parent-{number}"
        command = Command(folder, 2)
        command.kill_parent()
        code, _, gone = command.finish()
        outcome.kills += 1
        outcome.exits += code == -signal.SIGKILL
        outcome.gone = max(outcome.gone, round(gone, 1))
        _count(outcome, folder, 2, expected)
    return outcome


def disk_fills(root: Path, phases: Sequence[str] = STORED) -> Outcome:
    """No file may grow over a limit from a phase on: exit 5 and one line, and the rest exact."""
    outcome = Outcome()
    expected = _finished(root / "alone", 1)
    for phase in phases:
        for limit in LIMITS:
            folder = root / f"{phase}-{limit}"
            code, lines, gone = Command(folder, 1, f"{phase}:disk:{limit}").finish()
            if code == 0:  # it wrote nothing as large
                continue
            outcome.kills += 1
            outcome.exits += code == StorageError.exit_code and len(lines) == 1
            outcome.gone = max(outcome.gone, round(gone, 1))
            _count(outcome, folder, 1, expected)
    return outcome
