"""Plugins: found by name, folder or file, from the command line alone, and checked twice."""

import hashlib
import multiprocessing
import sys

import joblib
import pytest

from potstill.cli.train import check
from potstill.config import plugins
from potstill.config.allow_list import permit
from potstill.config.compose import Command
from potstill.config.instantiate import import_targets, instantiate
from potstill.config.kinds import KINDS
from potstill.config.offers import offered
from potstill.errors import ConfigError
from tests.support.places import CONF_SAMPLE

PARTS = '''
from torch import nn
from potstill.heads.base import Head


class MyHead(Head):
    """Nothing but zero."""

    def forward(self, student, teacher, target):
        return 0 * student.logits.sum()


class Wrong:
    def __init__(self, weight=None): ...


Made = type("Made", (object,), {})


class Computed(Made): ...


def my_net(num_classes: int) -> nn.Module:
    """One layer."""
    return nn.Linear(4, num_classes)


def no_net(num_classes):
    return num_classes
'''


def head(target):
    return {"module": {"heads": {"mine": {"_target_": target}}}}


def refusal(function, *args):
    with pytest.raises(ConfigError) as caught:
        function(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_brings_its_names_and_imports_nothing(plugin):
    assert "no such class" in refusal(permit, "mylab.parts.MyHead", "node", KINDS["head"])
    folder = plugin({"parts.py": PARTS, "broken.py": "raise SystemExit('imported')"})
    assert permit("mylab.parts.MyHead", "node", KINDS["head"]).name == "mylab.parts.MyHead"
    assert plugins.active() == (plugins.Plugin("mylab", folder),)
    assert "mylab" not in sys.modules
    assert sys.path[-1] == str(folder.parent)


def test_a_file_and_a_name_on_the_path_are_plugins_too(plugin, tmp_path, monkeypatch):
    (tmp_path / "single_file.py").write_text(PARTS)
    plugins.use([str(tmp_path / "single_file.py")])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "on_the_path.py").write_text(PARTS)
    plugins.use(["on_the_path"])
    for name in ("single_file", "on_the_path"):
        assert permit(f"{name}.MyHead", "node", KINDS["head"])
    # A process that inherits the variable finds both, in whatever folder it is.
    monkeypatch.chdir("/")
    plugins._located.cache_clear()
    assert [one.name for one in plugins.active()] == ["single_file", "on_the_path"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("missing", "no such package or file. Fix: a package on the path, or"),
        ("./missing.py", "no such package or file"),
        ("torch", "would shadow torch. Fix: another name"),
        ("potstill", "would shadow potstill"),
        ("a/folder/lightning", "would shadow lightning"),
        ("a/folder/json.py", "would shadow json"),
        ("a/my-lab", "my-lab is no name for a package. Fix: rename it"),
    ],
)
def test_what_is_no_plugin_is_named(plugin, given, message):
    line = refusal(plugins.use, [given])
    assert line.startswith(f"plugins=[{given}]: ")
    assert message in line


def test_a_name_that_is_another_packages_already_is_refused(plugin):
    plugin({})
    other = plugin({}, name="other/mylab", use=False)
    assert "mylab is " in refusal(plugins.use, [str(other)])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit('leaves')", "SystemExit: leaves"),
        ("def f(:", "SyntaxError: invalid syntax"),
    ],
)
def test_the_reason_why_one_does_not_import_is_in_the_line(plugin, text, reason):
    plugin({"__init__.py": text})
    line = refusal(plugins.load)
    assert line.startswith("plugins=[mylab]: mylab does not import (")
    assert reason in line


def test_a_class_must_be_what_its_place_needs_before_and_after_the_import(plugin):
    plugin({"parts.py": PARTS})
    import_targets(head("mylab.parts.MyHead"))
    assert (
        type(instantiate(head("mylab.parts.MyHead"))["module"]["heads"]["mine"]).__name__
        == "MyHead"
    )
    line = "module.heads.mine._target_=mylab.parts.{}: is no head. Fix: a class derived from "
    wrong = refusal(permit, "mylab.parts.Wrong", "module.heads.mine", KINDS["head"])
    assert wrong.startswith(line.format("Wrong"))
    permit("mylab.parts.Computed", "node", KINDS["head"])  # its source does not say
    computed = refusal(import_targets, head("mylab.parts.Computed"))
    assert computed.startswith(line.format("Computed"))
    model = {"_target_": "mylab.parts.no_net", "num_classes": 3}
    assert "is no model" in refusal(instantiate, model, "module.student")
    data = refusal(permit, "mylab.parts.Wrong", "data", KINDS["data"])
    assert data.endswith(".datamodule.ImageData; a Dataset as data.train of data=dataset")
    assert "is no map-style Dataset" in refusal(permit, "mylab.parts.Wrong", "a", KINDS["dataset"])
    assert "Fix: in mylab.parts: MyHead" in refusal(permit, "mylab.parts.MyHed", "a", KINDS["head"])


def test_a_module_that_a_config_names_and_that_does_not_import_is_named(plugin):
    plugin({"parts.py": PARTS + "\nraise RuntimeError('no licence')\n"})
    plugins.load()
    line = refusal(import_targets, head("mylab.parts.MyHead"))
    assert line.startswith("module.heads.mine._target_=mylab.parts.MyHead: mylab.parts does not")
    assert "RuntimeError: no licence" in line


def test_the_fingerprint_is_of_the_source_wherever_it_lies(plugin, tmp_path):
    folder = plugin({"a.py": "x = 1\n", "data.bin": "not source"})
    lines = [
        f"mylab/{name} {hashlib.sha256(text).hexdigest()}\n"
        for name, text in (("__init__.py", b""), ("a.py", b"x = 1\n"))
    ]
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert plugins.fingerprints() == {"plugins.mylab": expected}
    folder.rename(tmp_path / "moved")
    (tmp_path / "new").mkdir()
    (tmp_path / "moved").rename(tmp_path / "new" / "mylab")
    assert plugins.Plugin("mylab", tmp_path / "new" / "mylab").sha256 == expected
    (tmp_path / "new" / "mylab" / "a.py").write_text("x = 2\n")
    plugins._sha256.cache_clear()
    assert plugins.Plugin("mylab", tmp_path / "new" / "mylab").sha256 != expected


def test_help_lists_what_a_plugin_offers_by_kind(plugin):
    folder = plugin({"parts.py": PARTS})
    title, *lines = offered()
    assert title == f"plugin mylab: {folder}"
    assert [line.split() for line in lines] == [
        ["head", "mylab.parts.MyHead", "Nothing", "but", "zero."],
        ["model", "mylab.parts.my_net", "One", "layer."],
    ]


# -- the command line alone --------------------------------------------------------------------


def test_the_command_line_names_them():
    command = Command(CONF_SAMPLE, overrides=("seed=1", "plugins=[a,'b/c d.py']"))
    assert command.plugins == ("a", "b/c d.py")
    assert command.without_plugins.overrides == ("seed=1",)
    for wrong in ("plugins=a", "plugins=[a],[b]", "plugins=[1]", "plugins=[", "plugins={a: b}"):
        with pytest.raises(ConfigError, match=r"must be a list.*Fix: plugins=\[mylab\]"):
            _ = Command(CONF_SAMPLE, overrides=(wrong,)).plugins


@pytest.mark.parametrize(
    "text",
    [
        "# @package _global_\nplugins: [mylab]\n",
        "# @package _global_\nhydra: {sweeper: {params: {plugins: '[mylab]'}}}\n",
    ],
)
@pytest.mark.parametrize("given", [(), ("plugins=[other]",)])
def test_a_config_file_that_names_one_is_refused_with_its_name(plugin, tmp_path, text, given):
    plugin({"__init__.py": "raise SystemExit('imported')"}, use=False)
    file = tmp_path / "conf" / "experiment" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    command = Command(
        CONF_SAMPLE,
        overrides=("experiment=mine", *given),
        more_dirs=(tmp_path / "conf",),
        is_sweep="sweeper" in text,
    )
    line = refusal(check, command)
    assert line.startswith(f"{file}: plugins=['mylab'] in a file")
    assert line.endswith("Fix: plugins=[...] on the command line")


@pytest.mark.slow
@pytest.mark.parametrize("start", ["loky", "spawn"])
def test_processes_that_begin_afresh_know_them(plugin, start):
    plugin({"parts.py": PARTS})
    node = {"_target_": "mylab.parts.MyHead", "weight": 3.0}
    if start == "loky":  # as Hydra's joblib launcher starts its workers
        with joblib.parallel_config("loky", n_jobs=2):
            (made, _) = joblib.Parallel()([joblib.delayed(instantiate)(node)] * 2)
        joblib.externals.loky.get_reusable_executor().shutdown()
    else:  # as data workers are started where fork is not safe
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            made = pool.apply(instantiate, (node,))
    assert type(made).__module__ == "mylab.parts"
    assert made.weight == 3.0
