"""The folder of configs: `conf` of the repository, or its copy inside an installed package."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def conf_folder() -> Path:
    """Return the folder of configs that comes with this potstill."""
    inside = PACKAGE / "conf"  # a wheel carries it there, a checkout has it at the top
    return inside if inside.is_dir() else PACKAGE.parents[1] / "conf"
