"""ExecuTorch export, `.pte`, delegated to XNNPACK as one piece."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, fx, nn

from potstill.config.ranges import Ranges
from potstill.errors import ConfigError, DataError
from potstill.export.base import describe_file, reason
from potstill.export.formats import FileExporter
from potstill.export.runtimes.executorch import ExecuTorch
from potstill.export.torch_export import capture
from potstill.export.xnnpack.rewrites import fit_for_xnnpack
from potstill.libraries import need, quiet_libraries
from potstill.quantization.convert import is_converted, split_dequantize

KEY = "export=executorch"
XNNPACK = "executorch.backends.xnnpack.partition.xnnpack_partitioner"
DELEGATE, PART = "executorch_call_delegate", "getitem"


class Pte(FileExporter):
    """Write a file for any batch up to `largest_batch`.

    Its methods are `forward`, and `preprocess` and, where there are classes, `labels` with texts.

    Args:
        largest_batch: images at once; memory for their input and logits is set aside.
        one_delegate: refuse a network of which XNNPACK does not take everything; else the rest
            runs in ExecuTorch's portable kernels, which are slow.
        threads: the check runs on.

    Raises:
        ConfigError: if `largest_batch` is below 1.
    """

    ranges: ClassVar[Ranges] = {"largest_batch": "[1, inf)"}

    suffix, engine, runtime = ".pte", "executorch", ExecuTorch

    def __init__(
        self, largest_batch: int = 64, one_delegate: bool = True, threads: int = 1
    ) -> None:
        if largest_batch < 1:
            raise ConfigError(f"largest_batch={largest_batch}: too few. Fix: 1 or more")
        super().__init__(threads)
        self.largest_batch, self.one_delegate = largest_batch, one_delegate

    def content(self, network: nn.Module, images: Tensor, facts: Mapping[str, Any]) -> bytes:
        """Return the program."""
        description = describe_file(facts, is_converted(network))
        texts = {"preprocess": description}
        if names := facts.get("class_names"):
            texts["labels"] = json.dumps(names)
        return convert(network, images, self.largest_batch, self.one_delegate, texts)


def convert(
    network: nn.Module,
    images: Tensor,
    largest_batch: int,
    one_delegate: bool,
    texts: Mapping[str, str],
) -> bytes:
    """Return the program of a network that takes images (N, C, H, W).

    Raises:
        DataError: if it cannot be written, or not as one piece.
    """
    with quiet_libraries():
        partitioner = need(XNNPACK, KEY).XnnpackPartitioner
        exir = need("executorch.exir", KEY)
        program = capture(network, images, KEY, largest_batch)
        graph = split_dequantize(fit_for_xnnpack(program.module(check_guards=False)))
        program = capture(graph, images, KEY, largest_batch)
        try:
            lowered = exir.to_edge_transform_and_lower(
                program, partitioner=[partitioner()], constant_methods=dict(texts)
            )
            if one_delegate:
                check_one_delegate(lowered.exported_program().graph)
            return lowered.to_executorch().buffer
        except DataError:
            raise
        except Exception as error:  # the many passes each raise their own
            raise DataError(
                f"{KEY}: the network cannot be written ({reason(error)}). Fix: another export"
            ) from error


def check_one_delegate(graph: fx.Graph) -> None:
    """Raise DataError unless one delegate computes the whole of a lowered graph."""
    called = [getattr(n.target, "__name__", "") for n in graph.nodes if n.op == "call_function"]
    outside = sorted({name for name in called if name not in (DELEGATE, PART)})
    delegates = called.count(DELEGATE)
    if outside or delegates != 1:
        named = ", ".join(outside[:4]) or "nothing"
        more = f" and {len(outside) - 4} more" if len(outside) > 4 else ""
        raise DataError(
            f"{KEY}: XNNPACK takes the network in {delegates} pieces, and leaves out "
            f"{named}{more}. Fix: export=onnx, or export.executorch.one_delegate=false"
        )
