"""State dict export, `.safetensors`: the weights alone, by their names."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from potstill.export.base import Exported, describe_file, to_export
from potstill.export.parity import FLOAT_DB, keep_verified
from potstill.export.runtimes.eager import Eager
from potstill.quantization.convert import is_converted


class StateDict:
    """Write weights; whoever reads them builds the network first.

    Args:
        threads: the check runs on.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads

    def __call__(
        self, network: nn.Module, path_stem: Path, images: Tensor, facts: Mapping[str, Any]
    ) -> Exported:
        """Write `path_stem`.safetensors and check it; see `Exporter`."""
        network, images = to_export(network), images.cpu()
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        description = json.loads(describe_file(facts, is_converted(network)))
        # One key: the order of several is not fixed, and equal networks should be equal files.
        content = save(state, metadata={"potstill": json.dumps(description)})
        path = path_stem.with_name(f"{path_stem.name}.safetensors")

        def load(file: Path) -> Eager:
            return Eager(restore(network, file), self.threads)

        return keep_verified(path, content, load, network, images, FLOAT_DB)


@torch.no_grad()
def restore(network: nn.Module, file: Path) -> nn.Module:
    """Return a copy of `network` that has nothing but what is in `file`."""
    network = copy.deepcopy(network)
    for value in network.state_dict().values():
        value.zero_()  # so that what the file lacks does not go unnoticed
    network.load_state_dict(load_file(file))
    return network
