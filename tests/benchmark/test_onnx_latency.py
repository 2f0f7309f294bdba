"""Latency of all of a table in one engine: which rows get one, and that it is the network's."""

import logging

import torch
from torch import nn

from potstill.benchmark import onnx_latency
from potstill.measure.latency import Timing
from potstill.models.tiny_cnn import tiny_cnn
from potstill.quantization.convert import convert
from potstill.quantization.post_training import quantize_static

SHAPE = (3, 16, 16)


class Unwritable(nn.Module):
    """Branches on what it sees, which no graph holds."""

    def forward(self, image):
        return image.flatten(1) if image.sum() > 0 else image.flatten(1) * 2


def calls_of(networks, monkeypatch):
    """The calls that are timed and the columns that come of them."""
    seen = {}

    def clock(calls, rounds, warmup):
        seen.update({name: call() for name, call in calls.items()})
        return {name: Timing(2.0, 1.0, 3.0, rounds) for name in calls}

    monkeypatch.setattr(onnx_latency, "interleaved", clock)
    return seen, onnx_latency.in_onnxruntime(networks, SHAPE)


def test_the_files_that_are_timed_answer_as_the_networks(monkeypatch):
    network = tiny_cnn(3, width=4).eval()
    integer = convert(quantize_static(network, [torch.randn(8, *SHAPE)]))
    seen, columns = calls_of({"float": network, "int8": integer}, monkeypatch)
    image = torch.zeros(1, *SHAPE)
    with torch.no_grad():
        for name, found in (("float", network(image)), ("int8", integer(image))):
            torch.testing.assert_close(seen[name], found, rtol=0.02, atol=0.02)
    expected = {"latency_ms": 2.0, "latency_p95_ms": 3.0, "latency_engine": "onnxruntime"}
    assert columns == {"float": expected, "int8": expected}


def test_a_network_that_cannot_be_written_has_no_latency(monkeypatch, caplog):
    networks = {"good": tiny_cnn(3, width=4).eval(), "bad": Unwritable()}
    with caplog.at_level(logging.WARNING, "potstill"):
        _, columns = calls_of(networks, monkeypatch)
    assert set(columns) == {"good"}
    assert caplog.messages[0].startswith("bad: no latency in ONNX Runtime: ")


def test_the_clock_runs():
    (found,) = onnx_latency.in_onnxruntime({"net": tiny_cnn(3, width=4).eval()}, SHAPE).values()
    assert 0 < found["latency_ms"] <= found["latency_p95_ms"]
