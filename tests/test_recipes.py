"""Recipes for one's own code, carried out: a head inside the tree, and a plugin outside of it."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys

import onnxruntime
import pytest
import torch
from safetensors.torch import load_file

from potstill.artifact.file import load_artifact
from potstill.errors import DataError
from tests.support.places import ROOT
from tests.test_readme import NEW_FILES

MYLAB = ROOT / "tests" / "mylab"

NOT_SOURCE = (".git", ".venv", "outputs", "__pycache__", ".*_cache", "dist")


@pytest.mark.slow
def test_the_quick_tests_pass_with_the_readmes_head_in_the_tree(tmp_path):
    tree = tmp_path / "potstill"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*NOT_SOURCE))
    for name, text in NEW_FILES.items():
        assert not (tree / name).exists()
        (tree / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-vv", "-x", "-p", "no:cacheprovider", "-m", "quick"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "src")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "test_reverse_kl.py::test_value_is_scipys PASSED" in done.stdout


def test_the_contributors_page_counts_the_lines_of_every_kind():
    page = (ROOT / "docs" / "CONTRIBUTING.md").read_text()
    table = re.search(r"<!-- kinds -->(.*?)<!-- /kinds -->", page, re.DOTALL).group(1)
    said = {name: int(lines) for name, lines in re.findall(r"`([\w/.]+)` \((\d+)\)", table)}
    files = [path for kind in ("*.py", "*.yaml") for path in MYLAB.rglob(kind)]
    counted = {str(path.relative_to(MYLAB)): path.read_text().count("\n") for path in files}
    assert said == {name: lines for name, lines in counted.items() if name != "__init__.py"}
    assert max(said.values()) <= 50


# -- a plugin outside the tree -----------------------------------------------------------------

OPTIONS = [
    "head@module.heads=[kd,my_head]",
    "model@module.student=my_net",
    "model@module.teacher=my_net",
    "module.teacher.width=16",
    "data=my_data",
    "optimizer@module.optimizer=my_optimizer",
    "scheduler@module.scheduler=my_schedule",
    "callbacks=my_callback",
    "+stage@stages.factored=my_stage",
    "+stage@stages.pruned=prune",
    "criterion@stages.pruned.transforms.prune.criterion=my_channels",
    "+stage@stages.sparse=sparsify",
    "weight_criterion@stages.sparse.transforms.sparsify.criterion=my_weights",
    "+stage@stages.int8=qat",
    "export=[onnx,my_exporter]",
]
SMALL = [
    "~experiment",
    "baseline=false",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",
    "teacher.epochs=2",
    "teacher.store_dir=teachers",
    "stages.pruned.epochs=1",
    "stages.pruned.transforms.prune.first=null",
    "stages.pruned.transforms.prune.then=null",
    "stages.pruned.transforms.prune.round_to=2",
    "stages.sparse.epochs=1",
    "stages.sparse.transforms.sparsify.every=2",
    "stages.int8.epochs=1",
    "hydra.run.dir=run",
]


def train(folder, *overrides):
    """Run train.py in `folder` with the plugin in it."""
    command = [sys.executable, str(ROOT / "train.py"), "--config-dir", "mylab/conf"]
    return subprocess.run(
        [*command, "plugins=[mylab]", *OPTIONS, *SMALL, *overrides],
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the plugin `mylab` and a `run` of all that it offers."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(MYLAB, folder / "mylab")
    done = train(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_all_that_a_plugin_offers_takes_part_in_a_run(finished):
    run = finished / "run"
    rows = {row["name"]: row for row in json.loads((run / "report.json").read_text())["rows"]}
    assert list(rows) == ["teacher", "student", "factored", "pruned", "sparse", "int8"]
    assert rows["factored"]["num_parameters"] == rows["student"]["num_parameters"] - 16 * 2 + 16 + 2
    assert rows["pruned"]["macs"] <= rows["student"]["macs"] / 2
    sparse = load_file(run / "sparse" / "sparse.safetensors")
    weights = torch.cat([sparse[name].flatten() for name in ("0.weight", "3.weight")])
    assert (weights == 0).float().mean() == pytest.approx(0.5, abs=0.02)
    with (run / "student" / "metrics.csv").open() as file:
        terms = [row["train/my_head"] for row in csv.DictReader(file) if row["train/my_head"]]
    assert len(terms) == 2
    assert min(map(float, terms)) > 0
    steps = 162 // 16 * 2
    losses = (run / "student" / "losses.txt").read_text().split()
    assert len(losses) == steps
    exports = json.loads((run / "export" / "exports.json").read_text())["files"]
    runtimes = {one["path"]: one["runtime"] for one in exports}
    assert runtimes["int8.onnxref"] == "ONNX reference"
    assert min(one["agreement"] for one in exports) == 1
    measured = subprocess.run(
        [sys.executable, "-m", "potstill.measure", "run/export/int8.onnxref"],
        cwd=finished,
        env={**os.environ, "POTSTILL_PLUGINS": "mylab", "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert measured.returncode == 0, measured.stderr
    assert "onnxref" in measured.stdout


@pytest.mark.slow
def test_its_network_is_read_again_where_it_is_named(finished, plugin):
    file = finished / "run" / "int8" / "int8.safetensors"
    line = r"built by my_net of the plugin mylab, which is not there\. Fix: plugins=\[mylab\]"
    with pytest.raises(DataError, match=line):
        load_artifact(file)
    plugin({path.relative_to(MYLAB): path.read_text() for path in MYLAB.rglob("*.py")})
    network, artifact = load_artifact(file)
    assert artifact.spec.builder == "mylab:my_net"
    assert artifact.spec.transforms[0] == {"kind": "mylab:low_rank", "rank": 1}
    assert artifact.facts["class_names"] == ["upright", "lying"]
    images = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(finished / "run" / "export" / "int8.onnx")
    (expected,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    torch.testing.assert_close(network(images), torch.from_numpy(expected))


@pytest.mark.slow
def test_a_run_is_resumed_with_the_same_code_alone_unless_allowed(finished):
    with (finished / "mylab" / "my_head.py").open("a") as file:
        file.write("# another version\n")
    refused = train(finished, "resume=true")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: resume=true: plugins.mylab: ")
    assert refused.stderr.count("\n") == 1
    assert train(finished, "resume=true", "resume_allow=[plugins]").returncode == 0


@pytest.mark.slow
def test_what_is_wrong_with_it_is_one_line_before_anything_is_written(tmp_path):
    shutil.copytree(MYLAB, tmp_path / "mylab")
    wrong = train(tmp_path, "module.heads.my_head._target_=mylab.my_data.Stripes")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "module.heads.my_head._target_=mylab.my_data.Stripes: is no head. Fix:" in wrong.stderr
    (tmp_path / "mylab" / "__init__.py").write_text("import a_library_that_is_not_there\n")
    broken = train(tmp_path)
    assert (broken.returncode, broken.stderr.count("\n")) == (2, 1)
    assert "plugins=[mylab]: mylab does not import (ModuleNotFoundError: No m" in broken.stderr
    assert not (tmp_path / "run").exists()
