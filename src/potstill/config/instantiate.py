"""Instantiation of config nodes: the one place where a `_target_` is imported and called."""

from functools import partial
from importlib import import_module
from inspect import isclass
from pkgutil import resolve_name
from typing import Any

from omegaconf import OmegaConf

from potstill.config.allow_list import derived
from potstill.config.calls import HYDRA_KEYS, check_call
from potstill.config.full_keys import with_full_key
from potstill.config.introspect import Definition
from potstill.config.kinds import ANYTHING, Kind, Node, kind_at, nodes
from potstill.config.plugins import import_from, owner
from potstill.config.signatures import signature
from potstill.errors import ConfigError, PotstillError
from potstill.libraries.hydra import full_key

Keys = tuple[str, ...]


def instantiate(node: Any, path: str | None = None, /, **kwargs: Any) -> Any:
    """Return what `node` describes, called with `kwargs` as well; lists and mappings are plain.

    Args:
        node: a config, or a plain mapping.
        path: its place in the run's config, such as `module.student`, where it does not know it.
        kwargs: more arguments, in place of the node's own.

    Raises:
        ConfigError: if a target is not what its place needs, or refuses its arguments.
    """
    config = node if OmegaConf.is_config(node) else OmegaConf.create(node)
    full = full_key(config) if path is None else path
    keys = tuple(filter(None, full.replace("[", ".").replace("]", "").split(".")))
    # Resolved once: what is checked is what is called.
    return _make(OmegaConf.to_container(config, resolve=True), keys, kwargs)


def import_targets(config: Any) -> None:
    """Import what a plain config names of plugins, and raise where it is not what it must be.

    Raises:
        ConfigError: if a module does not import, or a class is not what its place needs.
    """
    for keys, node in nodes(config):
        path, kind = ".".join(keys), kind_at(keys)
        found = check_call(node, path, kind)
        if kind is not None and owner(found.name) is not None:
            _imported(found, f"{path}._target_={node['_target_']}", kind)


def _make(value: Any, keys: Keys, kwargs: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_make(item, (*keys, str(place)), {}) for place, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if "_target_" not in value:
        return {key: _make(inner, (*keys, str(key)), {}) for key, inner in value.items()}
    return _call(value, keys, kwargs)


def _call(node: Node, keys: Keys, kwargs: dict[str, Any]) -> Any:
    path, kind = ".".join(keys) or str(node["_target_"]), kind_at(keys) or ANYTHING
    found, given = check_call(node, path, kind), f"{path}._target_={node['_target_']}"
    called = _imported(found, given, kind)
    own = {key: value for key, value in node.items() if key not in HYDRA_KEYS}
    takes = signature(found)
    then = {
        name: own.pop(key)
        for key, name in kind.then.items()
        if key in own and not (takes and key in takes.names)
    }
    made = {k: _make(v, (*keys, str(k)), {}) for k, v in own.items() if k not in kwargs} | kwargs
    args = _make(node.get("_args_", []), (*keys, "_args_"), {})
    if node.get("_partial_"):
        return partial(called, *args, **made)
    try:
        result = called(*args, **made)
    except (ValueError, TypeError, ImportError) as error:
        if isinstance(error, PotstillError) and not isinstance(error, ConfigError):
            raise
        takes = signature(found)
        names = takes.names if takes is not None else ()
        raise with_full_key(error, path, names) from error
    if kind.bases and not isinstance(result, _bases(kind)):
        raise _no_such_thing(given, kind)
    for name, value in then.items():
        result = resolve_name(name)(result, value)
    return result


def _imported(found: Definition, given: str, kind: Kind) -> Any:
    """Return the class or function itself.

    Raises:
        ConfigError: if its module does not import, or it is a class of another kind.
    """
    module = import_from(found.source.name, given)
    called = getattr(module, found.node.name, None)
    if not callable(called):
        raise ConfigError(f"{given}: {found.name} is not there once imported. Fix: define it")
    if kind.bases and isclass(called) and not issubclass(called, _bases(kind)):
        raise _no_such_thing(given, kind)
    return called


def _bases(kind: Kind) -> tuple[type, ...]:
    split = (base.rpartition(".") for base in kind.bases)
    return tuple(getattr(import_module(module), name) for module, _, name in split)


def _no_such_thing(given: str, kind: Kind) -> ConfigError:
    return ConfigError(f"{given}: is no {kind.what}. Fix: {derived(kind)}")
