"""Allow-list of `_target_`s by their place in a config, checked before anything is imported."""

from potstill.config import plugins
from potstill.config.introspect import Definition, descends, find
from potstill.config.kinds import ANYTHING, KINDS, Kind
from potstill.config.names import OURS
from potstill.config.signatures import signature
from potstill.config.sources import names_beside
from potstill.errors import ConfigError, nearest


def permit(target: str, path: str, kind: Kind | None) -> Definition:
    """Return what `target` names if a config may call it at its place.

    Args:
        target: a dotted name.
        path: the node's key, for the message.
        kind: what may stand there; None where nothing is called.

    Raises:
        ConfigError: if it does not exist or is of another kind, as far as its source shows.
    """
    given = f"{path}._target_={target}" if path else f"_target_={target}"
    if kind is None:
        raise ConfigError(f"{given}: nothing is called here. Fix: leave out _target_")
    found = find(target)
    if found is None:
        raise ConfigError(f"{given}: no such class or function. Fix: {_suggest(target)}")
    if kind is ANYTHING:
        kind = next((one for one in KINDS.values() if not _refusal(found, one)), kind)
    if refusal := _refusal(found, kind):
        raise ConfigError(f"{given}: {refusal}")
    return found


def _refusal(found: Definition, kind: Kind) -> str:
    """Return why it is not of a kind, as far as its source shows; nothing where it is."""
    is_kind = descends(found, kind.bases) if kind.bases else True
    # A module's own imports are attributes too: where it is defined counts.
    if plugins.owner(found.name) is None:
        homes = kind.functions if found.is_function else kind.homes
        if not found.name.startswith(homes) or _is_internal(found, kind):
            return f"not callable from a config here. Fix: {_homes(kind)}"
        is_kind = bool(is_kind)
    return f"is no {kind.what}. Fix: {derived(kind)}" if is_kind is False else ""


def _is_internal(found: Definition, kind: Kind) -> bool:
    """Return whether it is a part of what it stands beside, and not for a config."""
    if found.node.name.startswith("_"):
        return True
    takes = signature(found) if found.is_function and found.name.startswith(OURS) else None
    return bool(takes is not None and kind.takes and kind.takes not in takes.names)


def _homes(kind: Kind) -> str:
    few = [home.rstrip(".") for home in kind.homes[:3]]
    return ", ".join([*few, "a plugin's (plugins=[...])"])


def derived(kind: Kind) -> str:
    """Return what would be of this kind, for the end of a message."""
    wanted = f"a class derived from {kind.bases[0]}" if kind.bases else f"a {kind.what}"
    return wanted + kind.fix


def _suggest(target: str) -> str:
    module, names = names_beside(target)
    if not module:
        return f"plugins=[{target.split('.')[0]}], its name or its folder"
    rest = target.removeprefix(module).split(".")
    return f"in {module}: {nearest(rest[1], names)}" if names and rest[1:] else "another name"
