"""The command `potstill`: training, measuring files, and showing runs."""

import importlib
import sys

from potstill import __version__

COMMANDS = {
    "train": "potstill.cli.train",
    "measure": "potstill.benchmark.command",
    "report": "potstill.report.command",
}
HELP = f"""potstill {__version__}: distil, prune, quantize, export and verify image classifiers.

  potstill [train] KEY=VALUE ...  train; without any KEY=VALUE, a student of bundled digits
  potstill measure FILE ...       sizes, memory, latency and accuracy of files side by side
  potstill report DIR ...         the page of a run again, or of several beside each other

  potstill train --help           every group of settings and its options
  potstill train --cfg job        the whole config, running nothing
  potstill experiment=compress_digits
  potstill -m temperature=2,4 alpha=0.5,0.9

What runs write goes to outputs/ in the current folder. In Python: help(potstill)."""


def main() -> int:
    """Run the command in `sys.argv`, and return the exit code."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word in ("-h", "--help"):
        print(HELP)
        return 0
    name = word if word in COMMANDS else "train"
    if word == name:
        del sys.argv[1]
    elif word and not _is_setting(word):
        known = ", ".join(COMMANDS)
        line = f"{word}: no command of potstill. Fix: {known}, or KEY=VALUE to train"
        print("error:", line, file=sys.stderr)
        return 2
    code: int = importlib.import_module(COMMANDS[name]).main()
    return code


def _is_setting(word: str) -> bool:
    return word.startswith("-") or any(sign in word for sign in "=@+~")
