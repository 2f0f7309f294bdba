"""Ranges in their notation, and as classes declare them."""

import math

import pytest

from potstill.config.arguments import check_arguments
from potstill.config.intervals import Interval
from potstill.config.introspect import find
from potstill.config.ranges import check_ranges, within
from potstill.config.rules import ranges_of
from potstill.errors import ConfigError


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("[0, 1)", [0, 0.0, 0.99, None], [1, -0.1, "0", True, math.inf]),
        ("(0, inf)", [1e-9, 7], [0, -1, math.nan]),
        ("[1, m)", [1, 3], [4, 0]),
        ("int [1, inf)", [1], [1.0, 0]),
        (("int [1, inf)", "float (0, 1]"), [5, 0.5, 1.0], [0, 1.5, 0.0, True]),
        (("auto", True, False), ["auto", True], ["on", 1, 0]),
        (("auto", -1, "[1, inf)"), [-1, 3, "auto", [1, 2]], [0, -2, [0]]),
        (["[1, inf)", "[0, 30]"], [[2, 9]], [[2], [0, 9], [2, 31], 3]),
        ("not empty", ["a", ["a"]], ["", [], ["a", ""]]),
        ("like 00:12:00:00", ["01:00:30:59"], ["1", "1:2:3:4x", 5]),
    ],
)
def test_a_rule_holds_what_it_says(rule, good, bad):
    assert [value for value in good if not within(value, rule, {"m": 4})] == []
    assert [value for value in bad if within(value, rule, {"m": 4})] == []


def test_a_bound_that_is_not_given_does_not_bind():
    assert Interval.parse("[1, m)").holds(100, {})
    with pytest.raises(ConfigError, match=r"^a\.n=4: must be 1 or more and below m \(4\)\. Fix: "):
        check_ranges({"n": "[1, m)"}, {"n": 4, "m": 4}, "a")


@pytest.mark.parametrize(
    ("dotted", "name", "good", "bad"),
    [
        ("potstill.config.schema.Config", "seed", [0, 2**32 - 1], [-1, 2**32, 1.0, True, "0"]),
        ("potstill.config.schema.Config", "select", ["last", "best"], ["first", None]),
        ("potstill.config.schema.TeacherSettings", "accuracy", [0.93, None], [93.0]),
        ("potstill.heads.kd.KD", "temperature", [0.1, 4, 1e6], [0, -1.0, "4", True]),
        ("potstill.heads.mgd.MGD", "weight", [0, 2.5, None], [-0.1, "1"]),
        (
            "potstill.training.module.DistillationModule",
            "alpha",
            [0, 1, None],
            [-0.01, 1.01, "0.5"],
        ),
        ("torch.optim.SGD", "lr", [1e-9, 10], [0, -1, "fast"]),
        ("potstill.data.cifar.CIFAR", "batch_size", [1, 512], [0, -1, 1.5, "8"]),
        ("lightning.pytorch.Trainer", "max_epochs", [1], [0, -1, 2.0, None]),
        ("lightning.pytorch.Trainer", "precision", ["auto", "32-true", 32], ["64-true", 64]),
        ("lightning.pytorch.Trainer", "limit_train_batches", [1, 0.1, None], [0, 0.0, 1.5, True]),
        ("lightning.pytorch.Trainer", "enable_checkpointing", [True, None], [False, "no"]),
        ("potstill.models.small_cnn.small_cnn", "channels", [[1, 2]], [[1], [1, 0], 3]),
    ],
)
def test_values_in_and_out_of_range(dotted, name, good, bad):
    definition = find(dotted)
    for value in good:
        check_arguments({name: value}, "a.b", definition)
    for value in bad:
        with pytest.raises(
            ConfigError, match=rf"^a\.b\.{name}=.*: must be .*\. Fix: a\.b\.{name}="
        ):
            check_arguments({name: value}, "a.b", definition)


def test_a_class_adds_to_the_ranges_of_all_its_bases():
    ranges = ranges_of(find("potstill.heads.mgd.MGD"))  # of Counted, then of Head
    assert ranges["weight"] == "[0, inf)"
    assert ranges["mask"] == ("channel", "pixel")


def test_a_plugin_declares_ranges_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "ranged.py").write_text(
        "BEANS = ('arabica', 'robusta')\n"
        "class Mill:\n"
        "    ranges = {'grind': '[1, 9]', 'bean': BEANS}\n"
        "    def __init__(self, grind: int, bean: str = 'arabica'): ...\n"
        "class Twin(Mill): ...\n"
        "class Odd:\n    ranges = dict(a=1)\n"
        "RANGES = {'cups': '[1, inf)'}\n"
        "def brew(cups: int, strength: 'float | None' = None): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for values, line in [
        ({"grind": 10}, "k.grind=10: must be an integer from 1 to 9. Fix: k.grind=1"),
        ({"bean": "rye"}, "k.bean=rye: must be arabica or robusta. Fix: k.bean=arabica"),
    ]:
        with pytest.raises(ConfigError) as caught:
            check_arguments(values, "k", find("ranged.Twin"))
        assert str(caught.value) == line
    check_arguments({"cups": 2, "strength": None}, "k", find("ranged.brew"))
    with pytest.raises(ConfigError, match=r"^k\.cups=0: must be an integer, 1 or more"):
        check_arguments({"cups": 0}, "k", find("ranged.brew"))
    with pytest.raises(ConfigError, match=r"ranged: `dict\(a=1\)` in its ranges is no literal"):
        ranges_of(find("ranged.Odd"))
