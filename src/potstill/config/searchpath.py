"""Search path of configs: more folders that a main config or a command line names."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from potstill.errors import ConfigError

KEY = "hydra.searchpath"


def searchpath_of(folders: Sequence[Path], config_name: str) -> list[str]:
    """Return the addresses that a main config names, before Hydra looks there.

    Hydra imports the package of `pkg://PACKAGE`, so that a file may name folders alone.

    Args:
        folders: where the config may be, the first counts.
        config_name: as Hydra takes it.

    Raises:
        ConfigError: if the config names anything else.
    """
    name = config_name if config_name.endswith(".yaml") else f"{config_name}.yaml"
    file = next((folder / name for folder in folders if (folder / name).is_file()), None)
    try:
        config = OmegaConf.load(file) if file is not None else None
        named = OmegaConf.select(config, KEY) if isinstance(config, DictConfig) else None
        addresses = [str(address) for address in named or []]
    except (OmegaConfBaseException, yaml.YAMLError, OSError, ValueError, TypeError):
        return []  # Hydra, which reads the same, has the words for it
    for number, address in enumerate(addresses):
        if "://" in address and not address.startswith("file://"):
            raise ConfigError(
                f"{KEY}.{number}={address}: a file may name folders alone, a package would be "
                f"imported ({file}). Fix: '{KEY}=[{address}]' on the command line"
            )
    return addresses


def with_searchpath(
    overrides: Sequence[str], folders: Sequence[Path], addresses: Sequence[str]
) -> list[str]:
    """Return overrides by which Hydra's compose searches what its command would.

    Args:
        overrides: of a command line.
        folders: that a flag names; with none the overrides stay as they are.
        addresses: that the main config names, in force where no override has others.
    """
    if not folders:
        return list(overrides)
    typed = [line for line in overrides if line.partition("=")[0].lstrip("+") == KEY]
    if typed:
        addresses = OverridesParser.create().parse_overrides(typed[:1])[0].value()  # type: ignore
    places = [*(f"file://{folder}" for folder in folders), *addresses]
    quoted = ",".join("'{}'".format(str(place).replace("'", "\\'")) for place in places)
    return [*(line for line in overrides if line not in typed), f"{KEY}=[{quoted}]"]
