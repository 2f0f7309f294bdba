"""Private names of Hydra and OmegaConf in use."""

import argparse
from pathlib import Path
from typing import Any

NAMES = {
    "hydra._internal.utils.get_args_parser": (),
    "hydra._internal.config_repository.ConfigRepository.initialize_sources": (
        "self",
        "config_search_path",
    ),
    "omegaconf.DictConfig._get_full_key": ("self", "key"),
    "omegaconf.DictConfig._set_parent": ("self", "parent"),
}


def flags() -> argparse.ArgumentParser:
    """Return the parser of Hydra's command line."""
    from hydra._internal.utils import get_args_parser

    return get_args_parser()


def search_beside(folder: Path) -> None:
    """Have Hydra, initialized, search a folder of configs after its main one, as a flag does."""
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.core.global_hydra import GlobalHydra

    loader: Any = GlobalHydra.instance().config_loader()
    path = loader.get_search_path()
    path.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    loader.repository.initialize_sources(path)


def full_key(node: Any) -> str:
    """Return a config node's place in its root, such as `module.student`."""
    return str(node._get_full_key(None))


def put_under(node: Any, parent: Any) -> None:
    """Have `node` resolve its interpolations in `parent`."""
    node._set_parent(parent)
