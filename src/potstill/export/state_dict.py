"""State dict export, `.safetensors`: the weights alone, by their names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from potstill.export.base import about_file
from potstill.export.formats import FileExporter
from potstill.export.parity import FLOAT_DB
from potstill.export.runtimes.eager import Eager
from potstill.integrity.tensors import load_tensors, save_tensors
from potstill.measure.counts import stored
from potstill.models.copies import copy_network
from potstill.models.weights import fit_state, shared_names
from potstill.quantization.convert import is_converted


class StateDict(FileExporter):
    """Write weights; whoever reads them builds the network first.

    A tensor of several names is there once; `shared` in the description names it by the others.

    Args:
        threads: the check runs on.
    """

    suffix = ".safetensors"
    min_sqnr_db = FLOAT_DB
    keeps_names = True

    def content(self, network: nn.Module, images: Tensor, facts: Mapping[str, Any]) -> bytes:
        """Return the state as safetensors."""
        description = about_file(facts, is_converted(network))
        if shared := shared_names(network):
            description["shared"] = shared
        return save_tensors(stored(network), description)

    def load(self, path: Path, network: nn.Module) -> Eager:
        """Fill a copy of the network from a file."""
        return Eager(restore(network, path), self.threads)


@torch.no_grad()
def restore(network: nn.Module, file: Path) -> nn.Module:
    """Return a copy of `network` that has nothing but what is in `file`."""
    network = copy_network(network)
    for value in network.state_dict().values():
        value.zero_()  # so that what the file lacks does not go unnoticed
    fit_state(network, load_tensors(file, f"path={file}"), file)
    return network
