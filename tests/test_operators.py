"""The table of operators: its page is that of its lines, and says who computes what."""

import onnx
import operator_columns
import operators
import pytest
import torch
from onnx import TensorProto, helper
from operator_nets import OPERATORS, SIDE, build


def test_the_page_is_that_of_what_was_found():
    found = operators.read()
    assert found
    assert set(found) <= set(OPERATORS)
    assert operators.PAGE.read_text() == operators.page(found)


def test_refusals_are_named_once_below_the_table():
    rows = {"ReLU": {"SQNR": "40 dB", "X, int8": "refused: no ReLU"}, "ELU": {"X, int8": "int8"}}
    rows["GELU"] = {"SQNR": "refused: other", "X, int8": "refused: no ReLU"}
    text = operators.page(rows)
    assert "| operator | SQNR | X, int8 |" in text
    assert "| ReLU | 40 dB | refused (1) |" in text
    assert "| ELU |  | int8 |" in text
    assert "| GELU | refused (2) | refused (1) |" in text
    assert "\n1. no ReLU\n2. other\n" in text
    assert "\nNot run yet: Conv2d, " in text


@pytest.mark.parametrize("name", OPERATORS)
def test_every_network_gives_logits(name):
    with torch.no_grad():
        assert build(name)(torch.zeros(2, 3, SIDE, SIDE)).shape == (2, 5)


def test_what_is_given_floats_is_counted():
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("MaxPool", ["q"], ["m"], kernel_shape=[2, 2]),
        helper.make_node("DequantizeLinear", ["m", "s", "z"], ["d"]),
        helper.make_node("HardSwish", ["d"], ["h"]),
        helper.make_node("Mul", ["h", "s"], ["y"]),
    ]
    scale = helper.make_tensor("s", TensorProto.FLOAT, [], [0.1])
    zero = helper.make_tensor("z", TensorProto.UINT8, [], [0])
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])
    graph = helper.make_graph(nodes, "g", [image], [], [scale, zero])
    assert isinstance(graph, onnx.GraphProto)
    assert operator_columns._given_floats(graph) == {"HardSwish": 1, "Mul": 1}
