"""Tiny networks, tiny data and a quiet Trainer for every test."""

import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from potstill.config import introspect, names, plugins

torch.set_num_threads(1)
HERE = Path(__file__).parent
# What `make quick` runs, by place: a new file in one of these takes part.
QUICK = ("artifact", "cli", "config", "heads", "measure")
QUICK += ("test_imports.py", "test_packaging.py", "test_public_names.py", "test_readme.py")
assert all((HERE / place).exists() for place in QUICK)


def pytest_itemcollected(item):
    place = item.path.relative_to(HERE).parts[0]
    if place in QUICK and item.get_closest_marker("slow") is None:
        item.add_marker("quick")


class TinyNet(nn.Module):
    """Three layers: conv - batch-norm - ReLU, pool, linear."""

    def __init__(self, width=4, num_classes=5, dropout=0.0):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x):
        x = self.relu(self.bn(self.conv(x)))
        return self.fc(self.dropout(x.mean((2, 3))))


@pytest.fixture
def tiny():
    def build(width=4, num_classes=5, dropout=0.0, seed=0):
        torch.manual_seed(seed)
        return TinyNet(width, num_classes, dropout)

    return build


@pytest.fixture
def batches():
    """Four batches of eight seeded 16-pixel images with labels and sample ids."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 8, 3, 16, 16, generator=generator)
    labels = torch.randint(5, (4, 8), generator=generator)
    ids = torch.arange(32).view(4, 8)
    return list(zip(images, labels, ids, strict=True))


class Listed(torch.utils.data.Dataset):
    """Batches already made, for a DataLoader that only passes them on."""

    def __init__(self, batches):
        self.batches = batches

    def __getitem__(self, index):
        return self.batches[index]

    def __len__(self):
        return len(self.batches)


@pytest.fixture
def loader():
    return lambda batches: torch.utils.data.DataLoader(Listed(batches), batch_size=None)


@pytest.fixture
def trainer(tmp_path):
    def build(**settings):
        defaults = {
            "max_epochs": 1,
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "default_root_dir": tmp_path,
        }
        return pl.Trainer(**(defaults | settings))

    return build


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A network in every format, made once."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("executorch")
    from tests.support.measured_files import write

    return write(tmp_path_factory.mktemp("measured"))


@pytest.fixture(autouse=True)
def no_plugin_stays(monkeypatch):
    """What a test has made a plugin is none for the next: path, modules, caches are as before."""
    before = [*sys.path]
    yield
    added = [f"{folder}/" for folder in sys.path if folder not in before]
    if not added:
        return
    sys.path[:] = before
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(tuple(added)):
            del sys.modules[name]
    for cached in (plugins._located, plugins._sha256, names._public):
        cached.cache_clear()
    introspect.forget()


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Writes packages, by default `mylab`, and makes them plugins for the test alone."""
    monkeypatch.setenv(plugins.VARIABLE, "")

    def make(files, name="mylab", use=True):
        folder = tmp_path / name
        for path, text in {"__init__.py": "", **files}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        if use:
            plugins.use([str(folder)])
        return folder

    return make
