"""Arguments of a training command: Hydra's flags, checked, and the overrides."""

import argparse
from pathlib import Path
from typing import NoReturn

from potstill.config.compose import Command
from potstill.errors import ConfigError
from potstill.libraries.hydra import flags

CONFIG_NAME = "train"


def parse(argv: list[str]) -> argparse.Namespace:
    """Return Hydra's reading of `argv`.

    Raises:
        ConfigError: if it has a flag that Hydra does not, or one that would unpickle a file.
    """

    def refuse(message: str) -> NoReturn:
        raise ConfigError(f"{message}. Fix: key=value without dashes, flags such as -m first")

    parser = flags()
    parser.error = refuse  # type: ignore[method-assign]
    args = parser.parse_args(argv)
    if args.experimental_rerun is not None:
        raise ConfigError(
            f"--experimental-rerun={args.experimental_rerun}: would run code from a pickle. "
            "Fix: the overrides in .hydra/overrides.yaml"
        )
    return args


def command_of(args: argparse.Namespace, config_dir: Path) -> Command:
    """Return what to compose, from `config_dir` where no flag names another folder.

    Raises:
        ConfigError: if a folder named does not exist, or is relative where Hydra wants otherwise.
    """
    if args.config_path is not None and not Path(args.config_path).is_absolute():
        raise ConfigError(f"--config-path={args.config_path}: is relative. Fix: an absolute path")
    folder = Path(args.config_path or config_dir)
    more = Path(args.config_dir).resolve() if args.config_dir else None
    for given in (folder, more):
        if given is not None and not given.is_dir():
            raise ConfigError(f"config folder {given}: does not exist. Fix: a folder of YAML files")
    return Command(
        config_dir=folder,
        config_name=args.config_name or CONFIG_NAME,
        overrides=tuple(args.overrides),
        is_sweep=args.multirun or "hydra.mode=MULTIRUN" in args.overrides,
        more_dirs=(more,) if more is not None else (),
    )


def only_prints(args: argparse.Namespace) -> bool:
    """Return whether the flags make Hydra print something and run nothing."""
    return bool(args.help or args.hydra_help or args.cfg or args.info or args.shell_completion)
