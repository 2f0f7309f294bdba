"""Search path of configs: the folders that a main config names beside its own."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from potstill.errors import ConfigError

KEY = "hydra.searchpath"


def check_searchpath(folders: Sequence[Path], config_name: str) -> None:
    """Raise where a main config names more than folders, before Hydra looks there.

    Hydra would import the package of `pkg://PACKAGE`, even to print something.

    Args:
        folders: where the config may be, the first counts.
        config_name: as Hydra takes it.

    Raises:
        ConfigError: naming it.
    """
    name = config_name if config_name.endswith(".yaml") else f"{config_name}.yaml"
    file = next((folder / name for folder in folders if (folder / name).is_file()), None)
    try:
        config = OmegaConf.load(file) if file is not None else None
        named = OmegaConf.select(config, KEY) if isinstance(config, DictConfig) else None
        addresses = [str(address) for address in named or []]
    except (OmegaConfBaseException, yaml.YAMLError, OSError, ValueError, TypeError):
        return  # Hydra, which reads the same, has the words for it
    for number, address in enumerate(addresses):
        if "://" in address and not address.startswith("file://"):
            raise ConfigError(
                f"{KEY}.{number}={address}: a file may name folders alone, a package would be "
                f"imported ({file}). Fix: '{KEY}=[{address}]' on the command line"
            )
