import pytest

from potstill.errors import ConfigError
from potstill.pruning.channels.target import Search, Target, steps


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {"ratio": 0.3, "macs": 0.5}, {"ratio": 0}, {"ratio": 1}, {"ratio": -0.1},
        {"ratio": 1.5}, {"macs": 0}, {"macs": 1}, {"parameters": 1.2}, {"size_mb": 0},
        {"latency_ms": -1}, {"macs": float("nan")}, {"size_mb": float("inf")},
    ],
)  # fmt: skip
def test_impossible_targets_are_one_line(wrong):
    with pytest.raises(ConfigError, match="Fix: ") as raised:
        Target(**wrong)
    assert "\n" not in str(raised.value)


def test_target_reads_as_it_is_typed():
    assert str(Target(macs=0.5)) == "macs=0.5"
    assert (Target(size_mb=3).name, Target(size_mb=3).value) == ("size_mb", 3.0)


@pytest.mark.parametrize(
    ("target", "values"),
    [
        (Target(ratio=0.5), [0.3, 0.4, 0.5]),
        (Target(ratio=0.55), [0.3, 0.4, 0.5, 0.55]),
        (Target(ratio=0.3), [0.3]),
        (Target(ratio=0.2), [0.2]),
        (Target(macs=0.5), [0.7, 0.6, 0.5]),
        (Target(parameters=0.25), [0.7, 0.6, 0.5, 0.4, 0.3, 0.25]),
    ],
)
def test_steps_grow_to_the_target(target, values):
    assert [step.value for step in steps(target)] == values
    assert {step.name for step in steps(target)} == {target.name}
    assert steps(target)[-1] == target


def test_only_shares_go_in_steps():
    with pytest.raises(ConfigError, match="size_mb=3: only a share"):
        steps(Target(size_mb=3))
    with pytest.raises(ConfigError, match="first=0"):
        steps(Target(ratio=0.5), first=0)


def test_search_stops_just_below():
    search = Search(lambda ratio: 1 - ratio, tries=20)
    assert search.ratio(Target(macs=0.37)) == pytest.approx(0.63, abs=1e-5)
    assert 1 - search.ratio(Target(macs=0.37)) <= 0.37


def test_search_names_the_smallest():
    with pytest.raises(ConfigError, match=r"smallest .* is macs=0\.2346\. Fix: macs=0\.2346"):
        Search(lambda ratio: 1 - 0.76543 * ratio, tries=5).ratio(Target(macs=0.1))


def test_search_refuses_what_is_there_already():
    with pytest.raises(ConfigError, match=r"size_mb=4: the network is there already \(3\)"):
        Search(lambda ratio: 3 - ratio, tries=5).ratio(Target(size_mb=4))
