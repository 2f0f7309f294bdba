"""Training from the command line: every mistake is found before torch is imported."""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from potstill import __version__
from potstill.cli.arguments import CONFIG_NAME, command_of, only_prints, parse
from potstill.cli.failures import INTERRUPTED, guarded, print_error
from potstill.config import plugins
from potstill.config.compose import VERSION_BASE, Command, configs
from potstill.config.hydra_node import check_hydra
from potstill.config.instantiate import import_targets
from potstill.config.location import conf_folder
from potstill.config.searchpath import check_searchpath
from potstill.config.typed import typed_in
from potstill.config.validate import check_no_plugins, validate
from potstill.config.write_places import check_name, check_places
from potstill.distributed import environment
from potstill.distributed.jobs import in_processes
from potstill.errors import PotstillError
from potstill.pipeline.run_folder import check_folder, run_folder


def main(config_dir: Path | None = None) -> int:
    """Check the command in `sys.argv`, run it through Hydra, and return the exit code.

    Flags that only print, such as --help, go to Hydra once its own settings were checked.

    Args:
        config_dir: the folder of configs; None for the one that comes with potstill.
    """
    if "--version" in sys.argv[1:]:  # Hydra would print its own
        print(f"potstill {__version__}")
        return 0
    try:
        args = parse(sys.argv[1:])
        command = command_of(args, (config_dir or conf_folder()).resolve())
        _type(command, args)
        plugins.use(command.plugins)
        if only_prints(args):
            check_printing(args, command)
        else:
            check(command)
            plugins.load()
            _join_others(command)
        codes: list[int] | None = [] if command.is_sweep else None
        task = guarded(in_processes(_run, command), codes)
        hydra.main(str(command.config_dir), CONFIG_NAME, version_base=VERSION_BASE)(task)()
        if command.is_sweep:
            _report_sweep()
    except PotstillError as error:
        return print_error(error, error.exit_code)
    except KeyboardInterrupt:
        return print_error("interrupted", INTERRUPTED)
    return max(codes or [0])


def check(command: Command) -> None:
    """Raise at the first mistake in any config that `command` will run; write nothing.

    Raises:
        ConfigError: if a setting is unknown, malformed or impossible.
        StorageError: if the run's folder cannot be written.
    """
    plain = command.without_plugins
    for cfg in configs(plain) if plain != command else ():
        check_no_plugins(cfg, command.folders)
    for number, cfg in enumerate(configs(command)):
        if plain == command:
            check_no_plugins(cfg, command.folders)
        typed = typed_in(command.overrides)
        run_folder(cfg, command.is_sweep)  # or whatever reads it would fail
        check_name(cfg)
        validate(cfg)
        check_hydra(cfg, typed, command.is_sweep)
        check_places(cfg, typed, command.is_sweep)
        if number == 0 and environment.rank() == 0 and not environment.is_started():
            check_folder(cfg, command.is_sweep)


def check_printing(args: Namespace, command: Command) -> None:
    """Raise at what Hydra would do beside printing, from a config file.

    Raises:
        ConfigError: if a file gives Hydra what it may not.
    """
    check_searchpath(command.folders, command.config_name)
    if not args.shell_completion:  # whose overrides are of another kind
        for cfg in configs(command):
            check_hydra(cfg, typed_in(command.overrides))


def _type(command: Command, args: Namespace) -> None:
    """Put the command's overrides in the place of those that were typed, for Hydra to read."""
    typed = dict(zip(args.overrides, command.overrides, strict=True))
    sys.argv[1:] = [typed.get(word, word) for word in sys.argv[1:]]


def _join_others(command: Command) -> None:
    """Where this is one process of several, take its own place in the run's folder."""
    extra = environment.overrides(command.overrides, command.is_sweep)
    argv, given = sys.argv, command.overrides
    # Beside the other overrides: argparse takes them from one place only.
    place = len(argv) - argv[::-1].index(given[-1]) if given else len(argv)
    argv[place:place] = extra
    environment.end_with_parent()


_sweep_folders: list[Path] = []  # of the jobs that ran in this process


def _run(cfg: DictConfig) -> Any:
    from potstill.pipeline.run import run  # torch and lightning take seconds to import

    if not plugins.active():  # a launcher's process that did not inherit the environment
        plugins.use(cfg.plugins)
    import_targets(OmegaConf.to_container(cfg, resolve=True))
    if HydraConfig.get().mode is RunMode.MULTIRUN:
        _sweep_folders.append(Path(HydraConfig.get().sweep.dir))
    return run(cfg)


def _report_sweep() -> None:
    """Write the page over a sweep's jobs; with jobs elsewhere, `potstill report` will."""
    if not _sweep_folders or not list(_sweep_folders[0].glob("*/report.json")):
        return
    from rich.console import Console

    from potstill.report.sweep import sweep_lines, write_sweep

    page, console = write_sweep(_sweep_folders[0]), Console()
    for line in sweep_lines(_sweep_folders[0]):
        console.print(line, highlight=False)
    print("sweep    ", page)
