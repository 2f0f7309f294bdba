"""Attempts of hostile configs: their files, their command lines, and what may not come of them."""

import os
from pathlib import Path

from potstill.cli import train
from potstill.cli.arguments import command_of, only_prints, parse
from tests.support.hostile_configs import Hostile
from tests.support.places import CONF_SAMPLE


class Attempts:
    """A folder in which to try hostile configs, with code beside them that leaves a mark."""

    def __init__(self, place: Path) -> None:
        self.mark = place / "MARK"
        self.work, self.away, self.configs = (place / name for name in ("work", "away", "configs"))
        for folder in (self.work, self.away, self.configs):
            folder.mkdir()
        for folder in (self.work, self.away):
            code = f"import pathlib\npathlib.Path({str(self.mark)!r}).touch()\n"
            (folder / "evil.py").write_text(code)

    def command(self, hostile: Hostile, *flags: str) -> list[str]:
        """Write the files of an attempt, and return its command line."""
        files = {"experiment/evil.yaml": "# @package _global_\n" + hostile.evil, **hostile.files}
        for name, text in files.items():
            (self.configs / name).parent.mkdir(parents=True, exist_ok=True)
            (self.configs / name).write_text(self.filled(text))
        main = ["--config-name", hostile.name] if hostile.name else ["experiment=evil"]
        own = [part for part in hostile.argv if part.startswith("-")]
        values = [self.filled(part) for part in hostile.argv if not part.startswith("-")]
        return ["--config-dir", str(self.configs), *own, *flags, *main, *values]

    def filled(self, text: str) -> str:
        """Return a text with the paths of this place."""
        paths = {"MARK": self.mark, "AWAY": self.away, "CONFIGS": self.configs}
        for name, path in paths.items():
            text = text.replace(name, str(path))
        return text

    def done(self) -> list[str]:
        """Return what has come to be, of what may not."""
        known = {"evil.py", "__pycache__"}
        found = [path.name for path in (self.mark,) if path.exists()]
        return found + [n for f in (self.work, self.away) for n in os.listdir(f) if n not in known]


def check(argv: list[str]) -> None:
    """Check a command line as `train.main` does before anything else."""
    args = parse(argv)
    command = command_of(args, CONF_SAMPLE)
    if only_prints(args):
        train.check_printing(args, command)
    else:
        train.check(command)
