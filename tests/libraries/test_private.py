"""Private names of other libraries: all in one module each, and all of them still there."""

import ast
import math

import lightning.pytorch as pl
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from potstill.libraries import executorch, hydra, lightning
from potstill.libraries import torch as private_torch
from potstill.libraries.private import missing
from tests.support.places import SOURCE

MODULES = (hydra, lightning, private_torch)
CONVENTIONS = {"_target_", "_replace", "_asdict"}  # Hydra's key, named tuples': documented
# A file that goes with an export, away from this package.
ALONE = SOURCE / "export" / "bundled"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_name_is_there_and_takes_what_it_took(module):
    assert missing(module.NAMES) == []


def test_the_fast_loop_can_override_what_it_does():
    assert missing(lightning.LOOP) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its own, on import
def test_executorch_has_its_name():
    pytest.importorskip("executorch")
    assert missing(executorch.NAMES) == []


def test_attributes_that_only_instances_have():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight])
    held = {
        "torch.nn.Module": (nn.Conv2d(1, 1, 1), "_forward_pre_hooks"),
        "torch.nn.Conv2d": (nn.Conv2d(1, 1, 1), "_reversed_padding_repeated_twice"),
        "torch.utils.data.DataLoader": (torch.utils.data.DataLoader([0]), "_iterator"),
        "torch LRScheduler": (torch.optim.lr_scheduler.LambdaLR(optimizer, float), "_last_lr"),
        "torch LRScheduler again": (
            torch.optim.lr_scheduler.LambdaLR(optimizer, float),
            "_step_count",
        ),
        "torch.nn.Module again": (nn.Conv2d(1, 1, 1), "_compiled_call_impl"),
        "torch operator": (torch.ops.aten.mm.default, "_schema"),
        "lightning FitLoop": (pl.Trainer(logger=False, barebones=True).fit_loop, "_data_fetcher"),
        "lightning Module": (pl.LightningModule(), "_trainer"),
        "lightning Module again": (pl.LightningModule(), "_current_fx_name"),
        "lightning DDPStrategy": (pl.strategies.DDPStrategy(), "_start_method"),
        "lightning CSVLogger": (pl.loggers.CSVLogger("."), "_experiment"),
    }
    gone = [f"{name}.{part}" for name, (of, part) in held.items() if not hasattr(of, part)]
    assert gone == []


def test_what_is_gone_or_takes_other_things_is_said():
    names = {"math.gone": (), "nowhere.at_all": (), "json.dumps": ("obj",), "json.loads": ("x",)}
    assert missing(names) == ["math.gone", "nowhere.at_all", "json.loads(x)"]
    assert math.pi  # the module is there


def is_private(name):
    return name.startswith("_") and not name.startswith("__") and name.strip("_") != ""


def test_no_other_file_names_them():
    files = [path for path in SOURCE.rglob("*.py") if ALONE not in path.parents]
    trees = {path: ast.parse(path.read_text()) for path in files}
    ours = set(CONVENTIONS)
    for node in (node for tree in trees.values() for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            ours.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            ours.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            ours |= {node.attr} if getattr(node.value, "id", "") in ("self", "cls") else set()
    others = [
        f"{path.relative_to(SOURCE)}: {name}"
        for path, tree in trees.items()
        if path.parent.name != "libraries"
        for name in private_names(tree)
        if name not in ours
    ]
    assert others == []


def private_names(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            yield node.attr
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("potstill"):
            parts = (node.module or "").split(".")
            yield from filter(is_private, (*parts, *(alias.name for alias in node.names)))


def test_hydra_and_omegaconf():
    root = OmegaConf.create({"a": {"b": {"c": "${d}"}}, "d": 3})
    assert hydra.full_key(root.a.b) == "a.b"
    apart = OmegaConf.create({"c": "${d}"})
    hydra.put_under(apart, root)
    assert apart.c == 3
    assert hydra.flags().parse_args(["x=1"]).overrides == ["x=1"]
