"""torch.export, `.pt2`: the network's graph, for PyTorch and its compilers."""

import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from potstill.errors import DataError
from potstill.export.base import describe_file, reason
from potstill.export.formats import FileExporter
from potstill.export.parity import FLOAT_DB
from potstill.export.runtimes.eager import TorchExport
from potstill.libraries import quiet_libraries
from potstill.quantization.convert import is_converted

EXAMPLES = 2  # of one image, torch.export would conclude that the batch is always 1


class Pt2(FileExporter):
    """Write a graph for any batch size; labels and preprocessing are its extra files.

    In integers it computes in float32 on values rounded to the integers' grid, as the network
    itself does: compare sizes and speed of the other formats.

    Args:
        threads: the check runs on.
    """

    suffix, engine, runtime = ".pt2", "torch.export", TorchExport
    min_sqnr_db = FLOAT_DB

    def content(self, network: nn.Module, images: Tensor, facts: Mapping[str, Any]) -> bytes:
        """Return the archive."""
        return convert(network, images, describe_file(facts, is_converted(network)))


def capture(network: nn.Module, images: Tensor, key: str, largest: int | None = None) -> Any:
    """Return the ExportedProgram of a network for any batch size up to `largest`.

    Raises:
        DataError: if torch.export cannot follow it; `key` is the setting to name.
    """
    # As many images as there may be: convolutions choose by the batch, and the choice is
    # taken for a limit on it.
    example = images[:1].expand(largest or EXAMPLES, *images.shape[1:]).contiguous()
    batch = None if largest == 1 else {0: torch.export.Dim("batch", min=1, max=largest)}
    try:
        return torch.export.export(network, (example,), dynamic_shapes=(batch,))
    except Exception as error:  # the tracer raises what the network's own code raises, too
        raise DataError(
            f"{key}: torch.export cannot follow the network ({reason(error)}). "
            "Fix: a network without that layer"
        ) from error


def convert(network: nn.Module, images: Tensor, description: str) -> bytes:
    """Return the `.pt2` archive of a network."""
    buffer = io.BytesIO()
    with quiet_libraries():
        program = capture(network, images, "export=torch_export")
        torch.export.save(program, buffer, extra_files={"preprocess.json": description})
    return buffer.getvalue()
