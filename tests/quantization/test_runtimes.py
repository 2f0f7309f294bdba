"""ExecuTorch's XNNPACK and ONNX Runtime execute the deployed network, whole and as integers."""

import warnings
from collections import Counter

import pytest
import torch

from potstill.quantization.convert import convert, split_dequantize
from tests.support.small_nets import build, calibrated, make_images, sqnr


@pytest.mark.parametrize("name", ["resnet_one_block", "mobilenet_v2"])
def test_xnnpack_takes_the_network_in_one_delegate(name):
    exir = pytest.importorskip("executorch.exir", reason="executorch is not installed")
    runtime = pytest.importorskip("executorch.runtime", reason="executorch is not installed")
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    prepared, x = calibrated(build(name)), make_images(4, seed=9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs, of their own parts
        exported = torch.export.export(convert(prepared), (x,))
        exported = torch.export.export(split_dequantize(exported.module()), (x,))
        lowered = exir.to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        file = lowered.to_executorch().buffer
    nodes = lowered.exported_program().graph_module.graph.nodes
    calls = Counter(node.target.__name__ for node in nodes if node.op == "call_function")
    assert calls == {"executorch_call_delegate": 1, "getitem": 1}
    method = runtime.Runtime.get().load_program(file).load_method("forward")
    assert sqnr(prepared(x), method.execute((x,))[0]) > 25


def test_onnx_runtime_gives_the_same_classes(tmp_path):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    prepared, x = calibrated(build("cifar_resnet")), make_images(16, seed=9)
    file, batch = tmp_path / "network.onnx", {0: torch.export.Dim("batch")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = convert(prepared, "uint8")
        program = torch.onnx.export(
            network, (x[:2],), dynamo=True, dynamic_shapes=(batch,), verbose=False
        )
    program.save(file)
    exact, fused = ort.SessionOptions(), ort.SessionOptions()
    # On processors without VNNI the integer kernels' sums saturate; this is about the graph.
    exact.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(file, exact, providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])
    expected = prepared(x)
    assert torch.equal(found.argmax(1), expected.argmax(1))
    assert sqnr(expected, found) > 30
    fused.optimized_model_filepath = str(tmp_path / "fused.onnx")
    fused.log_severity_level = 4  # it warns that such a file suits this machine only
    ort.InferenceSession(file, fused, providers=["CPUExecutionProvider"])
    executed = Counter(n.op_type for n in onnx.load(tmp_path / "fused.onnx").graph.node)
    assert executed["QLinearConv"] == 7
    assert executed["Conv"] == 0
