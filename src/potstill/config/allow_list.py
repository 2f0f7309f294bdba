"""Which `_target_`s a config may call: a short list, checked before anything is imported."""

import ast

from potstill.config.introspect import Definition, find, names_beside
from potstill.errors import ConfigError, nearest

ALLOWED = (
    "potstill.",
    "torch.optim.",
    "torch.nn.",
    "torchvision.",
    "timm.",
    "lightning.pytorch.",
)
# Elsewhere only classes: functions of libraries load pickles, write files, unpack archives.
FUNCTIONS_ALLOWED = ("potstill.", "torchvision.models.", "timm.models._factory.create_model")


def permit(target: str, path: str) -> Definition:
    """Return what `target` names if a config may call it; `path` is its node, for the message.

    Raises:
        ConfigError: if it is not on the allow-list, does not exist, or is a library's function.
    """
    given = f"{path}._target_={target}" if path else f"_target_={target}"
    if not target.startswith(ALLOWED):
        raise ConfigError(f"{given}: not callable from a config. Fix: one under {_allowed()}")
    found = find(target)
    if found is None:
        raise ConfigError(f"{given}: no such class or function. Fix: {_suggest(target)}")
    # A module's own imports are attributes too: potstill.atomic.os.system must not pass.
    if not found.name.startswith(ALLOWED):
        raise ConfigError(f"{given}: is {found.name}. Fix: one under {_allowed()}")
    is_function = isinstance(found.node, ast.FunctionDef)
    if is_function and not found.name.startswith(FUNCTIONS_ALLOWED):
        raise ConfigError(f"{given}: a library's function. Fix: a class, or a potstill function")
    return found


def _allowed() -> str:
    return ", ".join(prefix.rstrip(".") for prefix in ALLOWED)


def _suggest(target: str) -> str:
    module, names = names_beside(target)
    if not module:
        return f"pip install {target.split('.')[0]}"
    rest = target.removeprefix(module).split(".")
    return f"in {module}: {nearest(rest[1], names)}" if names and rest[1:] else "another name"
