"""Modules parsed from source, by dotted name: importing torch takes seconds."""

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from potstill.errors import ConfigError


@dataclass(frozen=True)
class ParsedModule:
    """A parsed module, by its dotted name."""

    name: str
    is_package: bool
    statements: tuple[ast.stmt, ...]


def module_of(dotted: str) -> tuple[ParsedModule | None, list[str]]:
    """Return the longest module that `dotted` begins with, and the names left over."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        file = file_of(".".join(parts[:length]))
        if file is not None:
            return _parse(file, ".".join(parts[:length])), parts[length:]
    return None, parts


def imports(module: ParsedModule) -> Iterator[tuple[str, str]]:
    """Yield (name here, dotted name there) of every import; the stars last."""
    stars = []
    for node in module.statements:
        if isinstance(node, ast.Import):
            for alias in node.names:
                # `import a.b` binds a, `import a.b as c` binds a.b.
                yield (
                    (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2
                )
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                pair = (alias.asname or alias.name, f"{_origin(module, node)}.{alias.name}")
                if alias.name == "*":
                    stars.append(pair)
                else:
                    yield pair
    yield from stars


def names_beside(dotted: str) -> tuple[str, list[str]]:
    """Return the deepest module that `dotted` begins with, and the public names in it."""
    module, _ = module_of(dotted)
    if module is None:
        return "", []
    names = [n.name for n in module.statements if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    file = file_of(module.name)
    if module.is_package and file is not None:
        names += [path.stem for path in file.parent.iterdir() if path.stem.isidentifier()]
    return module.name, [name for name in dict.fromkeys(names) if not name.startswith("_")]


def forget() -> None:
    """Look for every module again: the path has changed."""
    file_of.cache_clear()


@cache
def file_of(module: str) -> Path | None:
    """Return the source file of a module; its parents are not imported."""
    top, *parts = module.split(".")
    if not all(part.isidentifier() for part in (top, *parts)):
        return None
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # __main__
        return None
    if spec is None:
        return None
    if not spec.submodule_search_locations:
        is_file = not parts and spec.has_location and (spec.origin or "").endswith(".py")
        return Path(str(spec.origin)) if is_file else None
    path = Path(next(iter(spec.submodule_search_locations)), *parts)
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


def _origin(module: ParsedModule, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    parts = module.name.split(".")
    parts = parts[: len(parts) - node.level + module.is_package]
    return ".".join([*parts, node.module] if node.module else parts)


@cache
def _parse(file: Path, name: str) -> ParsedModule:
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError) as error:
        raise ConfigError(f"{name}: {file} cannot be read ({error}). Fix: that file") from error
    return ParsedModule(name, file.name == "__init__.py", tuple(_flat(tree.body)))


def _flat(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, with those inside `if` and `try` as if outside."""
    for statement in statements:
        if isinstance(statement, ast.If | ast.Try):
            yield from _flat(statement.body + statement.orelse)
        else:
            yield statement
