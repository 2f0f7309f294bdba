"""int8 networks in the form that LiteRT's converter reads, and their models with float ends."""

from typing import Any

from torch import fx

from potstill.export.runtimes.litert import EXTRA
from potstill.libraries import need
from potstill.quantization.graph.operators import decomposed

KEY = "export=litert"
COMPUTING = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")


def float_weights(captured: fx.GraphModule) -> fx.GraphModule:
    """Write each int8 weight as its float value, quantized in the graph, in place.

    The converter knows no constants of integers. Values and scales stay what they were: the
    quotient of a code times its scale and that scale rounds to the code.
    """
    graph = captured.graph
    for number, node in enumerate(list(graph.nodes)):
        if node.target is not decomposed.dequantize_per_channel.default:
            continue
        codes, *grid = node.args
        name = f"float_weight_{number}"
        captured.register_buffer(name, node.target(*map(_value(captured), node.args)))
        with graph.inserting_before(node):
            quantize = decomposed.quantize_per_channel.default
            weight = graph.call_function(quantize, (graph.get_attr(name), *grid))
        node.replace_input_with(codes, weight)
    graph.eliminate_dead_code()
    captured.recompile()
    return captured


def _value(captured: fx.GraphModule) -> Any:
    """Return a function from an argument of a node to its value."""

    def value(argument: Any) -> Any:
        return (
            captured.get_buffer(str(argument.target)) if isinstance(argument, fx.Node) else argument
        )

    return value


def float_ends(content: bytes) -> bytes:
    """Return an int8 model with float32 input and outputs, quantized and dequantized inside.

    The converter drops the steps that do so, and leaves whoever runs the model to take scales and
    zero points from its description.
    """
    tools = need("ai_edge_litert.tools.flatbuffer_utils", KEY, EXTRA)
    schema = need("ai_edge_litert.schema_py_generated", KEY, EXTRA)
    model = tools.read_model_from_bytearray(bytearray(content))
    [graph] = model.subgraphs
    kinds = schema.BuiltinOperator
    for place, index in enumerate(graph.inputs):
        new = _float_twin(schema, graph, index)
        graph.operators.insert(0, _operator(schema, model, kinds.QUANTIZE, new, index))
        graph.inputs[place] = new
        _rename(model.signatureDefs[0].inputs, index, new)
    for place, index in enumerate(graph.outputs):
        new = _float_twin(schema, graph, index)
        graph.operators.append(_operator(schema, model, kinds.DEQUANTIZE, index, new))
        graph.outputs[place] = new
        _rename(model.signatureDefs[0].outputs, index, new)
    return bytes(tools.convert_object_to_bytearray(model))


def in_float(content: bytes) -> int:
    """Return how many convolutions and linear layers of a model give float32."""
    tools = need("ai_edge_litert.tools.flatbuffer_utils", KEY, EXTRA)
    schema = need("ai_edge_litert.schema_py_generated", KEY, EXTRA)
    model = tools.read_model_from_bytearray(bytearray(content))
    [graph] = model.subgraphs
    float32 = schema.TensorType.FLOAT32
    return sum(
        tools.opcode_to_name(model, step.opcodeIndex) in COMPUTING
        and graph.tensors[step.outputs[0]].type == float32
        for step in graph.operators
    )


def _float_twin(schema: Any, graph: Any, index: int) -> int:
    """Add a float32 tensor of the shape of tensor `index`, and return its own index."""
    like, twin = graph.tensors[index], schema.TensorT()
    twin.shape, twin.name = like.shape, like.name + b"_float"
    twin.type, twin.buffer = schema.TensorType.FLOAT32, 0  # buffer 0 is the empty one
    graph.tensors.append(twin)
    return len(graph.tensors) - 1


def _operator(schema: Any, model: Any, kind: int, source: int, target: int) -> Any:
    """Return a step of the builtin `kind` from one tensor to another."""
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = kind
    code.version = 1
    model.operatorCodes.append(code)
    step = schema.OperatorT()
    step.opcodeIndex = len(model.operatorCodes) - 1
    step.inputs, step.outputs = [source], [target]
    return step


def _rename(ends: Any, old: int, new: int) -> None:
    """Have a signature's ends name tensor `new` in place of `old`."""
    for end in ends:
        if end.tensorIndex == old:
            end.tensorIndex = new
