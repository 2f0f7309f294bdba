"""Quantization without training: the network of the functions, and ranges that are kept."""

import json
import logging
import re

import pytest
import torch
from torch import nn

from potstill.artifact.transforms import rebuild
from potstill.errors import ConfigError
from potstill.measure.counts import is_quantized
from potstill.pipeline.stages.context import StageContext
from potstill.pipeline.stages.ptq import StaticQuantization
from potstill.pipeline.stages.ptq_dynamic import DynamicQuantization
from potstill.quantization.convert import convert
from potstill.quantization.dynamic import DynamicLinear
from potstill.quantization.post_training import quantize_static
from potstill.quantization.range_methods import find_range_method

SHAPE = (3, 16, 16)
DRY = StageContext(SHAPE, dry_run=True)


@pytest.fixture
def context(batches, tmp_path):
    return StageContext(SHAPE, folder=tmp_path, training_batches=lambda n: batches[:n])


@pytest.mark.parametrize("method", ["min_max", "percentile", "mse"])
def test_it_is_the_network_of_the_functions_the_second_time_too(tiny, batches, context, method):
    network, image = tiny().eval(), batches[3][0]
    expected = convert(quantize_static(network, batches[:2], find_range_method(method), 2))
    empty = StageContext(SHAPE, folder=context.folder)  # with no images: the ranges are read
    for given in (context, empty):
        stage = StaticQuantization(method, n_batches=2)
        found = stage.finalize(stage.apply(network, given))
        assert not found.training
        for key, value in expected.state_dict().items():
            assert torch.equal(found.state_dict()[key], value)
        assert torch.equal(found(image), expected(image))


class Joined(nn.Module):
    """Two branches that are concatenated, and so are on one grid."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(torch.cat([self.left(x), self.right(x)], 1).mean((2, 3)))


def test_branches_on_one_grid_have_one_range(batches, context):
    torch.manual_seed(0)
    network = Joined().eval()
    stage = StaticQuantization(n_batches=2)
    found = stage.finalize(stage.apply(network, context))
    expected = convert(quantize_static(network, batches[:2], n_batches=2))
    assert torch.equal(found(batches[3][0]), expected(batches[3][0]))


def test_what_stays_float_is_in_the_entry_that_builds_it_again(tiny, context):
    network = tiny().eval()
    stage = StaticQuantization(keep_float=["conv"], n_batches=2)
    found = stage.finalize(stage.apply(network, context))
    assert type(found.conv) is nn.Conv2d
    again = rebuild(tiny(seed=1), json.loads(json.dumps(stage.describe())))
    again.load_state_dict(found.state_dict())
    assert torch.equal(again(torch.ones(1, *SHAPE)), found(torch.ones(1, *SHAPE)))
    assert "keep_float" not in StaticQuantization().describe()


def test_options_are_repeated_from_the_record_and_built_again(batches, context):
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3, bias=False), nn.ReLU6(), nn.Conv2d(4, 4, 3), nn.Flatten()
    network, image = nn.Sequential(*layers, nn.Linear(576, 5)).eval(), batches[3][0]
    options = {"equalize": True, "bias_correction": True}
    expected = convert(quantize_static(network, batches[:2], n_batches=2, **options))(image)
    empty = StageContext(SHAPE, folder=context.folder)
    for given in (context, empty):
        stage = StaticQuantization(n_batches=2, **options)
        found = stage.finalize(stage.apply(network, given))
        assert torch.equal(found(image), expected)
    again = rebuild(nn.Sequential(*layers, nn.Linear(576, 5)), stage.describe())
    again.load_state_dict(found.state_dict())
    assert torch.equal(again(image), expected)


def spoilt():
    """A network whose second layer's grid one column that reads zeros stretches."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten()
    network = nn.Sequential(*layers, nn.Linear(576, 5)).eval()
    with torch.no_grad():
        network[0].weight[1], network[0].bias[1] = 0.0, -1.0
        network[2].weight[:, 1] = 500.0
    return network


def test_a_drop_beyond_the_limit_names_the_worst_layers_and_is_kept(batches, tmp_path):
    said, images = [], torch.cat([batch[0] for batch in batches])
    network = spoilt()
    with torch.no_grad():
        labels = network(images).argmax(1)

    def validate(net):
        with torch.no_grad():
            return 100 * (net(images).argmax(1) == labels).double().mean().item()

    def run(folder, **settings):
        context = StageContext(
            SHAPE,
            folder=tmp_path / folder,
            training_batches=lambda n: batches[:n],
            validate=validate,
            say=said.append,
        )
        stage = StaticQuantization(n_batches=2, **settings)
        return stage.finalize(stage.apply(network, context))

    drop = 100 - validate(run("int8", max_drop=1.0))
    assert drop > 1
    (line,) = said
    assert re.fullmatch(
        rf"stages.int8: int8 costs {drop:.2f} points on validation, more than max_drop=1. Worst "
        r"layers: 2 \(.* dB\), .*\. Fix: keep_float=\[2, .*\]",
        line,
    )
    assert json.loads((tmp_path / "int8" / "int8_cost.json").read_text())["warning"] == line
    run("int8", max_drop=1.0)  # an attempt that goes on says it again, and measures nothing
    assert said == [line, line]
    kept = run("kept", max_drop=1.0, keep_float=["2"])
    assert said == [line, line]
    assert validate(kept) > 99
    run("free", max_drop=drop)
    assert len(said) == 2


def test_a_limit_needs_a_validation(tiny, context):
    with pytest.raises(ConfigError, match=r"max_drop=2: there is no validation here. Fix: "):
        StaticQuantization(max_drop=2).apply(tiny(), context)


def test_a_rehearsal_needs_no_images(tiny, tmp_path):
    stage = StaticQuantization()
    assert is_quantized(stage.finalize(stage.apply(tiny(), DRY)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bits": 3}, "bits=3"),
        ({"method": "entropy"}, "method=entropy: unknown"),
        ({"percent": 99.0}, "percent=99.0: has no effect with method=min_max"),
        ({"n_batches": 0}, "n_batches=0"),
        ({"max_drop": -1}, "max_drop=-1"),
        ({"method": "percentile", "percent": 0}, "percent=0"),
    ],
)
def test_impossible_settings_are_one_line(settings, message):
    with pytest.raises(ConfigError, match=message) as error:
        StaticQuantization(**settings)
    assert "\n" not in str(error.value)


def test_dynamic_says_how_far_it_reached_but_not_in_a_rehearsal(tiny, caplog):
    with caplog.at_level(logging.INFO, "potstill"):
        DynamicQuantization().apply(tiny(), DRY)
        assert not caplog.text
        network = DynamicQuantization().apply(tiny(), StageContext(SHAPE))
    assert isinstance(network.fc, DynamicLinear)
    assert "14.2 % of the parameters" in caplog.text
