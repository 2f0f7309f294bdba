"""What the benchmark of inference says of given times; the times themselves are no test."""

import importlib
import json
from argparse import Namespace

import pytest

from potstill.measure.latency import Timing


@pytest.fixture(scope="module")
def inference():
    pytest.importorskip("onnxscript")
    pytest.importorskip("executorch")
    return importlib.import_module("inference")


@pytest.fixture
def found(inference):
    steady = {
        ("float32", "eager"): 60.0,
        ("float32", "ONNX Runtime"): 40.0,
        ("float32", "ExecuTorch"): 100.0,
        ("int8", "ONNX Runtime"): 20.0,
        ("int8", "ExecuTorch"): 25.0,
        ("pruned int8", "ONNX Runtime"): 5.0,
    }
    times = {key: Timing(median, median, None, 3) for key, median in steady.items()}
    return times | {("pruned int8", "ExecuTorch"): Timing(10.0, 6.0, None, 3)}


def test_ratios_are_of_medians_in_one_engine_and_noise_is_said(inference, found):
    lines = inference.ratios(found, {"ONNX Runtime": 3.12, "ExecuTorch": 3.154})
    assert [line.partition(";")[0] for line in lines] == [
        "int8, ONNX Runtime: 2.00 times as fast as float32, 3.00 times as fast as eager",
        "int8, ExecuTorch: 4.00 times as fast as float32, 2.40 times as fast as eager",
        "pruned int8, ONNX Runtime: 8.00 times as fast as float32, 12.00 times as fast as eager",
        "pruned int8, ExecuTorch: 10.00 times as fast as float32 (noisy), 6.00 times as fast as "
        "eager",
        "pruned int8: ONNX Runtime 3.12 MB, ExecuTorch 3.15 MB",
    ]


def test_rows_of_the_table_and_of_the_record(inference, found):
    racing = [
        inference.Contestant("int8", "ONNX Runtime", 11_770_000, 1_814_000_000, print),
        inference.Contestant("pruned int8", "ExecuTorch", 3_150_000, 483_000_000, print),
    ]
    rows = inference.table(racing, found).splitlines()[2:]
    assert rows[0] == "| int8 | ONNX Runtime | 11.77 | 1.814 | 20.00 | 20.00 |  |  |"
    assert rows[1] == "| pruned int8 | ExecuTorch | 3.15 | 0.483 | 10.00 | 6.00 |  | noisy |"
    given = Namespace(network="resnet18", size=8, quick=True)
    record = json.loads(json.dumps(inference.facts(racing, found, given)))
    assert [(row["median"], row["noisy"]) for row in record["rows"]] == [(20, False), (10, True)]


def test_weights_are_those_for_the_processor(inference, monkeypatch):
    for features, weights in (((), "uint8"), (("avx2",), "uint8"), (("avx512_vnni",), "int8")):
        monkeypatch.setattr(inference, "cpu_features", lambda features=features: features)
        assert inference.exporter("ONNX Runtime").weights == weights


def test_each_engine_is_raced_by_the_exporter_that_writes_for_it(inference):
    for name in inference.ENGINES:
        assert inference.exporter(name).runtime.name == name
