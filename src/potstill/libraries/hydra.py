"""Private names of Hydra and OmegaConf in use."""

import argparse
from typing import Any

NAMES = {
    "hydra._internal.utils.get_args_parser": (),
    "omegaconf.DictConfig._get_full_key": ("self", "key"),
    "omegaconf.DictConfig._set_parent": ("self", "parent"),
}


def flags() -> argparse.ArgumentParser:
    """Return the parser of Hydra's command line."""
    from hydra._internal.utils import get_args_parser

    return get_args_parser()


def full_key(node: Any) -> str:
    """Return a config node's place in its root, such as `module.student`."""
    return str(node._get_full_key(None))


def put_under(node: Any, parent: Any) -> None:
    """Have `node` resolve its interpolations in `parent`."""
    node._set_parent(parent)
