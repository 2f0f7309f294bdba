"""State dict export, `.safetensors`: the weights alone, by their names."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from potstill.export.base import describe_file
from potstill.export.formats import FileExporter
from potstill.export.parity import FLOAT_DB
from potstill.export.runtimes.eager import Eager
from potstill.models.copies import copy_network
from potstill.quantization.convert import is_converted


class StateDict(FileExporter):
    """Write weights; whoever reads them builds the network first.

    Args:
        threads: the check runs on.
    """

    suffix = ".safetensors"
    min_sqnr_db = FLOAT_DB

    def content(self, network: nn.Module, images: Tensor, facts: Mapping[str, Any]) -> bytes:
        """Return the state as safetensors."""
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        description = json.loads(describe_file(facts, is_converted(network)))
        # One key: the order of several is not fixed, and equal networks should be equal files.
        return save(state, metadata={"potstill": json.dumps(description)})

    def load(self, path: Path, network: nn.Module) -> Eager:
        """Fill a copy of the network from a file."""
        return Eager(restore(network, path), self.threads)


@torch.no_grad()
def restore(network: nn.Module, file: Path) -> nn.Module:
    """Return a copy of `network` that has nothing but what is in `file`."""
    network = copy_network(network)
    for value in network.state_dict().values():
        value.zero_()  # so that what the file lacks does not go unnoticed
    network.load_state_dict(load_file(file))
    return network
