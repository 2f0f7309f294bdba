"""Every exporter on every family of networks, in float32 and in int8: what agrees, what is refused.

`python benchmarks/export_matrix.py` prints a Markdown table; `--networks` and `--formats` choose
rows and columns. Weights are random, with batch-norm statistics of random images: the numbers
say whether a file computes what its network does, not how well it classifies.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.export.base import Exported, Exporter
from potstill.export.coreml import CoreMl
from potstill.export.executorch import Pte
from potstill.export.litert import TfLite
from potstill.export.onnx import Onnx
from potstill.export.openvino import OpenVinoIr
from potstill.export.state_dict import StateDict
from potstill.export.torch_export import Pt2
from potstill.models.cifar_resnet import cifar_resnet
from potstill.models.torchvision import torchvision_model
from potstill.quantization.convert import convert
from potstill.quantization.post_training import quantize_static

NUM_CLASSES, SIZE, COUNT = 10, 64, 64
NETWORKS = (
    "cifar_resnet20", "cifar_resnet56", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large",
    "efficientnet_b0", "regnet_x_400mf", "vit_tiny", "vgg11_bn", "vgg16_bn", "resnet18", "resnet50",
)  # fmt: skip
FORMATS: dict[str, Callable[[], Exporter]] = {
    "onnx": Onnx,
    "executorch": Pte,
    "litert": TfLite,
    "openvino": OpenVinoIr,
    "torch_export": Pt2,
    "state_dict": StateDict,
    "coreml": lambda: CoreMl(unchecked=True),
    "executorch in pieces": lambda: Pte(one_delegate=False),  # only on demand
}
COLUMNS = (
    "network", "format", "precision", "MB", "of float32", "same class, %", "SQNR, dB",
    "largest difference", "CPU, s",
)  # fmt: skip
FACTS = {
    "class_names": [f"class{k}" for k in range(NUM_CLASSES)],
    "mean": [0.5] * 3,
    "std": [0.25] * 3,
    "image_shape": [3, SIZE, SIZE],
    "preprocess": {"resize": SIZE, "crop": SIZE},
}


def build(name: str, images: Tensor) -> nn.Module:
    """Return a network of random weights whose batch-norms know these images."""
    torch.manual_seed(0)
    if name.startswith("cifar_resnet"):
        network = cifar_resnet(int(name.removeprefix("cifar_resnet")), NUM_CLASSES)
    else:
        network = torchvision_model(name, NUM_CLASSES, image_size=SIZE)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # an average over all batches
    heads = [module for module in network.modules() if isinstance(module, nn.Linear)]
    nn.init.normal_(heads[-1].weight, std=0.1)  # vision transformers begin with zeros
    with torch.no_grad():
        for _ in range(2):
            network.train()(images)
    return network.eval()


def rows(networks: list[str], formats: list[str], folder: Path) -> Iterator[list[Any]]:
    """Yield the columns of each row."""
    images = torch.randn(COUNT, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    for name in networks:
        network = build(name, images)
        integers = convert(quantize_static(network, images.split(32)))
        for form in formats:
            whole: int | None = None
            for precision, which in (("float32", network), ("int8", integers)):
                start = time.process_time()
                done = written(FORMATS[form](), which, images, folder)
                seconds = f"{time.process_time() - start:.0f}"
                if isinstance(done, Exported) and precision == "float32":
                    whole = done.bytes
                yield [name, form, precision, *numbers(done, whole), seconds]


def written(
    exporter: Exporter, network: nn.Module, images: Tensor, folder: Path
) -> Exported | PotstillError:
    """Return what one exporter made of a network, or why it refused."""
    try:
        return exporter(network, folder / "network", images, FACTS)
    except PotstillError as error:
        return error


def numbers(done: Exported | PotstillError, whole: int | None) -> list[str]:
    """Return the columns of one export; `whole` is the size of the float file, where there is one.

    In place of the first there may be the reason for a refusal.
    """
    if isinstance(done, PotstillError):
        return [str(done).replace("|", "/"), "", "", "", ""]
    share = f"{done.bytes / whole:.2f}" if whole else "-"
    agreement, decibels = f"{100 * done.agreement:.1f}", f"{done.sqnr_db:.1f}"
    return [f"{done.bytes / 1e6:.2f}", share, agreement, decibels, f"{done.max_difference:.2g}"]


def main() -> None:
    """Print the table as it is made."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--formats", nargs="+", choices=list(FORMATS), default=list(FORMATS)[:7])
    given = parser.parse_args()
    print("|", " | ".join(COLUMNS), "|")
    print("|", " | ".join("---" for _ in COLUMNS), "|")
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(given.networks, given.formats, Path(folder)):
            print("|", " | ".join(map(str, row)), "|", flush=True)


if __name__ == "__main__":
    main()
