"""Classes and functions by dotted name, read from source: importing torch takes seconds."""

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_MAX_HOPS = 12


@dataclass(frozen=True)
class Source:
    """A parsed module, by its dotted name."""

    name: str
    is_package: bool
    statements: tuple[ast.stmt, ...]


@dataclass(frozen=True)
class Definition:
    """A class or function, and the module that holds its source."""

    node: ast.ClassDef | ast.FunctionDef
    source: Source

    @property
    def name(self) -> str:
        """The dotted name of where it is defined, wherever it was imported from."""
        return f"{self.source.name}.{self.node.name}"


@dataclass(frozen=True)
class Signature:
    """The names a call takes; `is_open` where `**kwargs` takes any other."""

    names: tuple[str, ...]
    is_open: bool


@cache
def find(dotted: str, hops: int = _MAX_HOPS) -> Definition | None:
    """Return the class or function `dotted` names, following re-exports; `None` if not found."""
    source, rest = _module_of(dotted)
    if source is None or len(rest) != 1 or hops == 0:
        return None
    return _lookup(source, rest[0], hops)


def signature(definition: Definition) -> Signature | None:
    """Return what calling `definition` takes; `None` where its source does not say."""
    node = definition.node
    if isinstance(node, ast.FunctionDef):
        return _arguments(node.args, skip=0)
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            return _arguments(statement.args, skip=1)
    if node.decorator_list:  # a dataclass, say, writes its own
        return None
    if not node.bases:
        return Signature((), is_open=False)
    parent = _first_base(definition)
    return signature(parent) if parent is not None else None


def class_constant(definition: Definition, name: str) -> object:
    """Return the constant assigned to `name` in a class or its first bases, else `None`."""
    if isinstance(definition.node, ast.FunctionDef):
        return None
    for statement in definition.node.body:
        match statement:
            case (
                ast.AnnAssign(target=ast.Name(id=assigned), value=ast.Constant(value=value))
                | ast.Assign(targets=[ast.Name(id=assigned)], value=ast.Constant(value=value))
            ) if assigned == name:
                return value
    parent = _first_base(definition)
    return class_constant(parent, name) if parent is not None else None


def names_beside(dotted: str) -> tuple[str, list[str]]:
    """Return the deepest module that `dotted` begins with, and the public names in it."""
    source, _ = _module_of(dotted)
    if source is None:
        return "", []
    names = [n.name for n in source.statements if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    file = _file(source.name)
    if source.is_package and file is not None:
        names += [path.stem for path in file.parent.iterdir() if path.stem.isidentifier()]
    return source.name, [name for name in dict.fromkeys(names) if not name.startswith("_")]


def _arguments(arguments: ast.arguments, skip: int) -> Signature:
    named = [*arguments.posonlyargs, *arguments.args][skip:] + arguments.kwonlyargs
    return Signature(tuple(argument.arg for argument in named), arguments.kwarg is not None)


def _first_base(definition: Definition) -> Definition | None:
    bases = definition.node.bases if isinstance(definition.node, ast.ClassDef) else []
    head, *attributes = ast.unparse(bases[0]).split(".") if bases else [""]
    if not attributes:
        return _lookup(definition.source, head, _MAX_HOPS)
    for imported, dotted in _imports(definition.source):
        if imported == head:
            return find(".".join([dotted, *attributes]))
    return None


def _lookup(source: Source, name: str, hops: int) -> Definition | None:
    for node in reversed(source.statements):  # the last definition is the one that counts
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return Definition(node, source)
    for imported, dotted in _imports(source):
        if imported in (name, "*"):
            found = find(dotted.removesuffix("*") + name if imported == "*" else dotted, hops - 1)
            if found is not None:
                return found
    return None


def _imports(source: Source) -> Iterator[tuple[str, str]]:
    """Yield (name here, dotted name there) of every import; the stars last."""
    stars = []
    for node in source.statements:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname or alias.name, alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                pair = (alias.asname or alias.name, f"{_origin(source, node)}.{alias.name}")
                if alias.name == "*":
                    stars.append(pair)
                else:
                    yield pair
    yield from stars


def _origin(source: Source, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    parts = source.name.split(".")
    parts = parts[: len(parts) - node.level + source.is_package]
    return ".".join([*parts, node.module] if node.module else parts)


def _module_of(dotted: str) -> tuple[Source | None, list[str]]:
    """Return the longest module that `dotted` begins with, and the names left over."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        file = _file(".".join(parts[:length]))
        if file is not None:
            return _parse(file, ".".join(parts[:length])), parts[length:]
    return None, parts


@cache
def _file(module: str) -> Path | None:
    top, *parts = module.split(".")
    if not all(part.isidentifier() for part in (top, *parts)):
        return None
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0], *parts)
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in candidates if file.is_file()), None)


@cache
def _parse(file: Path, name: str) -> Source:
    tree = ast.parse(file.read_bytes())
    return Source(name, file.name == "__init__.py", tuple(_flat(tree.body)))


def _flat(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, with those inside `if` and `try` as if outside."""
    for statement in statements:
        if isinstance(statement, ast.If | ast.Try):
            yield from _flat(statement.body + statement.orelse)
        else:
            yield statement
