"""What the benchmarks count and write; how long things take is no test."""

import importlib
import json
import statistics
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from potstill.data.fake import Fake

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def _found():
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


@pytest.fixture
def heads(_found):
    return importlib.import_module("heads")


@pytest.fixture
def training_step(_found):
    return importlib.import_module("training_step")


class Toy(nn.Module):
    """Autograd saves the image and what goes into the second layer, and both weights."""

    def __init__(self, inner):
        super().__init__()
        self.first = nn.Linear(3 * 32 * 32, inner, bias=False)
        self.last = nn.Linear(inner, 100, bias=False)

    def forward(self, image):
        return self.last(self.first(image.flatten(1)))


def test_bytes_by_hand(training_step, monkeypatch):
    monkeypatch.setattr(training_step, "cifar_resnet", lambda *_: Toy(6))
    step = training_step.Step("mse", Toy(9), batch_size=4)
    images, inner, logits = 4 * 3 * 32 * 32, 4 * 6, 4 * 100
    weights = 3 * (3 * 32 * 32 * 6 + 6 * 100)  # with gradients and momentum
    # Of the losses: log-probabilities, targets (int64), the weight of all classes' sum; of MSE
    # both logits.
    losses = 4 * logits + 8 * 4 + 4 * logits + 4 * logits
    expected = 4 * (images + inner + weights) + losses
    assert step.num_bytes() == pytest.approx(expected, abs=32)  # a few scalars
    assert step.num_adapter_parameters == 0


def test_adapters_count(training_step, monkeypatch):
    monkeypatch.setattr(training_step, "cifar_resnet", lambda *_: Toy(6))
    step = training_step.Step("cc", Toy(9), batch_size=4)
    assert step.num_adapter_parameters == 6 * 128 + 128 + 9 * 128 + 128


def test_ratios_are_of_one_round(heads):
    class Fixed:
        def __init__(self, *seconds):
            self.left = list(seconds)

        def seconds(self):
            return self.left.pop(0)

    steps = {"at": Fixed(3.0, 8.0, 6.0), "kd": Fixed(1.0, 2.0, 4.0), "kd again": Fixed(1.5, 2, 4)}
    ratios = heads.take_turns(steps, 3)
    assert ratios == {"at": [3, 4, 1.5], "kd": [1, 1, 1], "kd again": [1.5, 1, 1]}
    assert heads.quartiles([4.0, 1.0, 2.0, 3.0]) == tuple(statistics.quantiles([1, 2, 3, 4])[::2])


def test_source_is_linked(heads):
    line = "Regression on logits (Ba and Caruana 2014, arXiv:1312.6184)."
    link = "Ba and Caruana 2014, [arXiv:1312.6184](https://arxiv.org/abs/1312.6184)"
    assert heads.described(line) == ("Regression on logits", link)
    assert heads.described("Of two (Jin et al., CVPR 2023).") == ("Of two", "Jin et al., CVPR 2023")


def cost(heads, name, adapters=0, time=1.0, memory=1.0, views=1):
    return heads.Cost(name, "Method", "Source", views, adapters, time, (0.9, 1.1), memory)


def test_table_between_the_markers(heads, tmp_path):
    costs = [cost(heads, "cc", 2176, 1.234, 1.006), cost(heads, "mlkd", views=2)]
    text = heads.table([*costs, cost(heads, "kd again", time=1.02)], rounds=3, batch_size=8)
    assert "| `cc` | Method | Source | 2,176 | 1.23 | 1.01 |" in text
    assert "| `mlkd` (2 views) | Method | Source | none | 1.00 | 1.00 |" in text
    assert "gives 1.02 (quartiles 0.90 to 1.10)" in text
    assert "`kd again`" not in text
    readme = tmp_path / "README.md"
    readme.write_text("# a\n<!-- heads -->\nold\n<!-- /heads -->\nb\n")
    for _ in range(2):
        heads.write_readme(text, readme)
        assert readme.read_text() == f"# a\n<!-- heads -->\n{text}\n<!-- /heads -->\nb\n"


@pytest.mark.parametrize("text", ["", "<!-- heads -->", "<!-- /heads -->", "<!-- heads --"])
def test_a_readme_without_markers_is_left_alone(heads, tmp_path, text):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(SystemExit, match="Fix"):
        heads.write_readme("table", readme)
    assert readme.read_text() == text


def test_every_head_has_a_method_and_a_source(heads):
    assert all(all(heads.described(line)) for _, line in heads.catalog())


@pytest.fixture
def turns(_found):
    return importlib.import_module("turns")


@pytest.fixture
def races(_found):
    return importlib.import_module("races")


@pytest.fixture
def throughput(_found):
    return importlib.import_module("throughput")


def test_one_loop_runs_at_a_time(turns):
    seen = []

    def loop(name, pause):
        for step in range(12):
            pause()
            seen.append((name, step))

    contestants = {n: turns.Contestant(partial(loop, n), steps=2) for n in "ab"}
    times = turns.race(contestants, rounds=3, warm_up=1)
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}
    # Four turns of two steps each, never cut in two by the other's.
    assert sorted(seen) == [(name, step) for name in "ab" for step in range(8)]
    halves = [seen[i : i + 2] for i in range(0, len(seen), 2)]
    assert all(first[0] == second[0] for first, second in halves)
    assert not any(contestant._thread.is_alive() for contestant in contestants.values())


def test_a_turn_is_timed_by_the_cpu_it_takes(turns):
    def loop(work, pause):
        while True:
            pause()
            sum(range(work))

    contestants = {
        "long": turns.Contestant(partial(loop, 2_000_000)),
        "idle": turns.Contestant(partial(loop, 0)),
    }
    times = turns.race(contestants, rounds=3)
    assert min(times["long"]) > 10 * max(times["idle"])  # by hand it is a thousand times


def test_on_a_gpu_a_turn_is_timed_by_its_events(turns, monkeypatch):
    said = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            said.append("record")

        def synchronize(self):
            said.append("wait")

        def elapsed_time(self, end):
            return 40.0  # milliseconds

    monkeypatch.setattr(torch.cuda, "Event", Event)

    def loop(pause):
        while True:
            pause()
            said.append("step")

    clock = turns.clock_of(torch.device("cuda"))
    times = turns.race({"a": turns.Contestant(loop, 2, clock)}, rounds=2, warm_up=0)
    assert times == {"a": [0.02, 0.02]}
    assert said[2:] == ["wait", *["record", "step", "step", "record", "wait"] * 2]
    assert turns.clock_of(torch.device("cpu")) is turns.processor


def test_one_batch_over_and_over_is_trained_on_by_hand(races, tmp_path):
    lines = races.settings(races.STAND_IN, 6, ("teacher.store=off",))
    job = races.Job(races.compose(*lines), tmp_path)
    asked, losses = [], []

    def ask(image, sample_id):
        asked.append(sample_id.tolist())
        return torch.zeros(len(image), job.data.num_classes)

    loop = partial(races.by_hand, job, ask, losses, always_same=True)
    contestants = {"fixed": importlib.import_module("turns").Contestant(loop)}
    importlib.import_module("turns").race(contestants, rounds=3)
    assert len(asked) == len(losses) >= 3
    assert all(ids == asked[0] for ids in asked)


@pytest.mark.parametrize(
    ("there", "arguments", "said"),
    [
        (False, ["--gpu"], "torch finds no CUDA device here"),
        (True, ["--gpu", "--only", "memory"], "only resnet56_resnet20 and resnet50_resnet18"),
    ],
)
def test_no_gpu_and_no_race_for_one_are_said(
    throughput, monkeypatch, capsys, there, arguments, said
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    with pytest.raises(SystemExit) as caught:
        throughput.main(arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_what_a_loop_raises_is_raised(turns):
    def fails(pause):
        pause()
        raise KeyError("here")

    with pytest.raises(KeyError, match="here"):
        turns.race({"fails": turns.Contestant(fails)}, rounds=2)
    with pytest.raises(RuntimeError, match="ended before"):
        turns.race({"short": turns.Contestant(lambda pause: pause())}, rounds=2)


def test_ratios_and_differences_are_of_one_round(turns):
    times = {"a": [1.0, 2.0, 4.0], "a again": [1.1, 2.0, 4.4], "b": [2.0, 3.0, 9.0]}
    found = turns.ratio(times, "b", "a", 1.9)
    assert found.value == 2.0  # of 2, 1.5 and 2.25
    assert found.quartiles == tuple(statistics.quantiles([2, 1.5, 2.25])[::2])
    assert found.control == pytest.approx(1.1)
    found = turns.difference(times, "b", "a")
    assert found.value == pytest.approx(1000)  # of 1, 1 and 5 s
    assert found.control == pytest.approx(100)


def test_rounds_are_shared_out_over_builds_and_put_together_again(turns):
    assert turns.shares(9, 3) == [3, 3, 3]
    assert turns.shares(11, 4) == [3, 3, 3, 2]
    assert turns.shares(2, 3) == [1, 1]
    parts = [{"a": [1.0, 2.0], "b": [3.0, 4.0]}, {"a": [5.0], "b": [6.0]}]
    assert turns.pool(parts) == {"a": [1.0, 2.0, 5.0], "b": [3.0, 4.0, 6.0]}


@pytest.mark.parametrize(
    ("value", "control", "goal", "neutral", "verdict"),
    [
        (0.70, 1.01, 0.80, 1.0, "pass"),
        (0.90, 0.99, 0.80, 1.0, "over"),
        (0.79, 1.01, 0.80, 1.0, "not resolved"),
        (0.81, 0.99, 0.80, 1.0, "not resolved"),
        (0.40, -0.01, 0.50, 0.0, "pass"),
        (0.40, 0.06, 0.50, 0.0, "not resolved"),
        (0.70, 1.01, None, 1.0, ""),
    ],
)
def test_no_verdict_finer_than_the_noise(turns, value, control, goal, neutral, verdict):
    assert turns.Found(value, (value, value), control, goal, neutral).verdict == verdict


def test_goals_are_those_of_the_machine(races):
    pair = races.PAIRS["resnet50_resnet18"]
    assert pair.goals(True) == {"b/a": 0.26, "c/a": 0.18, "c/d": 1.03, "c/e": 1.03}
    assert pair.goals(False) == {"b/a": 0.85, "c/d": 1.03, "c/e": 1.03}


def test_losses_apart(races):
    one, other = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 1.6])
    assert races.apart(one, other) == pytest.approx(0.25)


def test_a_sweep_asks_as_often_as_draws_are_new(races):
    """A crop of 4 pixels and a flip are 162 views; 100 draws show 162 (1 - (161 / 162)^100)."""
    sizes = {"train_size": 600, "val_size": 10, "test_size": 4}
    data = Fake(4, 8, flip=True, crop_padding=4, **sizes)
    data.setup("fit")
    assert races.EPOCHS == 100
    assert races.new_view_share(data) == pytest.approx(1.62 * (1 - (161 / 162) ** 100), abs=0.01)


def test_throughput_by_stand_ins(throughput, tmp_path, capsys):
    found = tmp_path / "found.json"
    parts = ["overhead", "loaders", "resnet56_resnet20", "sweep"]
    throughput.main(["--quick", "--only", *parts, "--json", str(found)])
    read = json.loads(found.read_text())
    assert set(read["ratios"]) == {"resnet56_resnet20"}
    ratios, raced = read["ratios"]["resnet56_resnet20"], read["all"]["resnet56_resnet20"]
    assert set(ratios) == {"b/a", "c/a", "c/d", "c/e", "sweep/alone"}
    assert set(ratios) == set(read["control"]["resnet56_resnet20"])
    # The framework, with the teacher's stored outputs, trains as the loop by hand.
    assert raced["facts"]["loss_difference_c_e"] < 1e-5
    assert raced["facts"]["logit_difference_b_c"] < 1e-3
    assert read["all"]["overhead"]["facts"]["loss_difference"] < 1e-6
    assert read["overhead_ms"] == read["all"]["overhead"]["ratios"]["overhead_ms"]["value"]
    assert set(read["control"]["overhead"]) == {"overhead_ms", "overhead_lightning_ms"}
    # Of eight runs the first asks for each image of each epoch, at this seed no view twice.
    counted = read["all"]["sweep"]["facts"]
    assert counted["teacher_forwards_first"] == counted["images_times_epochs"] == 4 * 2 * 2
    assert counted["others"] == 0
    out = capsys.readouterr().out
    for line in ("| resnet56_resnet20 | c/e |", "| overhead | overhead_ms |", "| loaders |"):
        assert line in out
