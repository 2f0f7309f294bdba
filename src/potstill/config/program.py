"""Name of the running command, as it stands in texts and reports."""

import sys
from pathlib import Path


def program() -> list[str]:
    """Return `python train.py` for a script, and `potstill` for the console command."""
    name = Path(sys.argv[0]).name
    return ["python", name] if name.endswith(".py") else [name]
