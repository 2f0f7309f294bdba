"""What source says of a class, against what Python says once it is imported."""

import importlib
import inspect
import sys

import pytest

from potstill.config.introspect import class_constant, find
from potstill.config.signatures import signature
from potstill.config.sources import names_beside


def imported(dotted):
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(
    "dotted",
    [
        "torch.optim.SGD",  # re-exported by the package
        "torch.optim.sgd.SGD",
        "torch.optim.lr_scheduler.CosineAnnealingLR",
        "torch.nn.Linear",  # re-exported through a star
        "torch.nn.ReLU",
        "lightning.pytorch.Trainer",  # decorated
        "lightning.pytorch.callbacks.ModelCheckpoint",
        "potstill.heads.kd.KD",
        "potstill.heads.base.Head",
    ],
)
def test_signature_is_what_inspect_says(dotted):
    parameters = inspect.signature(imported(dotted)).parameters.values()
    kinds = inspect.Parameter
    found = signature(find(dotted))
    assert found.is_open == any(p.kind is kinds.VAR_KEYWORD for p in parameters)
    variadic = (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)
    assert list(found.names) == [p.name for p in parameters if p.kind not in variadic]


@pytest.mark.parametrize("name", ["AdamW", "LBFGS"])
def test_find_names_the_defining_module(name):
    cls = imported(f"torch.optim.{name}")
    assert find(f"torch.optim.{name}").name == f"{cls.__module__}.{cls.__qualname__}"


@pytest.mark.parametrize(
    "dotted",
    ["potstill.heads.kd.KD", "potstill.heads.fitnet.FitNet", "potstill.heads.sp.SP"],
)
def test_class_constant_is_the_attribute(dotted):
    assert class_constant(find(dotted), "kind") == imported(dotted).kind


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "brewed"
    folder.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    importlib.invalidate_caches()
    assert "brewed" not in sys.modules  # nothing was imported


def test_constructors_are_followed_to_the_first_base(package):
    (package / "__init__.py").write_text("raise SystemExit('imported')\n")
    (package / "a.py").write_text(
        "class A:\n    def __init__(self, x, *, y=1): ...\n    kind = 'k'\n"
    )
    (package / "b.py").write_text(
        "from dataclasses import dataclass\n"
        "from brewed import a\nfrom .a import A as Renamed\n"
        "class B(a.A): ...\nclass C(Renamed): ...\nclass D: ...\n"
        "@dataclass\nclass E:\n    z: int\n"
        "try:\n    def f(p, **rest): ...\nexcept ImportError: ...\n"
        "def g(first): ...\ndef g(second): ...\n"
    )
    for name in "BC":
        assert signature(find(f"brewed.b.{name}")).names == ("x", "y")
        assert class_constant(find(f"brewed.b.{name}"), "kind") == "k"
    assert signature(find("brewed.b.D")).names == ()
    assert signature(find("brewed.b.E")).names == ("z",)
    assert signature(find("brewed.b.f")).is_open
    assert signature(find("brewed.b.g")).names == ("second",)  # as Python would
    assert names_beside("brewed.b.X") == ("brewed.b", ["B", "C", "D", "E", "f", "g"])


def test_imports_in_a_circle_are_not_found(package):
    (package / "__init__.py").write_text("")
    (package / "c.py").write_text("from brewed.d import X\n")
    (package / "d.py").write_text("from brewed.c import X\n")
    assert find("brewed.c.X") is None


@pytest.mark.parametrize(
    "dotted",
    [
        "",
        "torch",
        "torch.nn",
        "__main__.a",
        "no_such_package.A",
        "potstill./etc.hosts",
        "potstill..A",
    ],
)
def test_what_is_no_class_is_not_found(dotted):
    assert find(dotted) is None
