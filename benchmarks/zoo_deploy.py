"""Quantization and export of a network of the zoo, each compared with what it was made from."""

import math
import tempfile
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.export.executorch import Pte
from potstill.export.formats import FileExporter
from potstill.export.onnx import Onnx
from potstill.export.sensitivity import perturb_rounding
from potstill.quantization.convert import convert
from potstill.quantization.post_training import quantize_static

BATCHES, BATCH = 2, 8  # images to calibrate with; as many as one batch are compared
CLASSES = 10
FLOAT_DB = 60  # of a file in float32
INTEGER_DB = 30  # of an int8 one, or what rounding a little differently leaves, if that is less
SLACK_DB = 3  # two ways to round differently are not equally bad
EXECUTORCH_PARAMETERS = 60e6  # beyond which lowering takes too long here
Row = dict[str, Any]


class Deployed:
    """A network in int8 and its files; each method returns the row of a part.

    Args:
        build: returns the network.
        side: of the images, in pixels.
    """

    def __init__(self, build: Callable[[], nn.Module], side: int) -> None:
        self.build, self.side = build, side

    @cached_property
    def network(self) -> nn.Module:
        """The float network."""
        return self.build().eval()

    @cached_property
    def fake(self) -> nn.Module:
        """The fake-quantized network, its ranges from random images."""
        return quantize_static(self.network, [(self._images(seed),) for seed in range(BATCHES)])

    @cached_property
    def converted(self) -> nn.Module:
        """The int8 network."""
        return convert(self.fake)

    def int8(self) -> Row:
        """Compare the int8 network with the fake-quantized one."""
        return judged(self._int8)

    def onnx(self) -> Row:
        """Write and run the float network as ONNX."""
        return judged(lambda: self._file(Onnx(), _onnx_runtime, self.network))

    def onnx_int8(self) -> Row:
        """Write and run the int8 network as ONNX."""
        return judged(lambda: self._file(Onnx(), _onnx_runtime, self.converted))

    def executorch(self) -> Row:
        """Write and run the float network for ExecuTorch."""
        return judged(lambda: self._pte(lambda: self.network))

    def executorch_int8(self) -> Row:
        """Write and run the int8 network for ExecuTorch."""
        return judged(lambda: self._pte(lambda: self.converted))

    @torch.no_grad()
    def _int8(self) -> Row:
        images = self._images(100)
        wanted, found = self.fake(images), self.converted(images)
        row = compared(wanted, found, self._floor(images))
        return row | {"float_db": round(centred_db(self.network(images), wanted), 1)}

    def _pte(self, network: Callable[[], nn.Module]) -> Row:
        millions = sum(parameter.numel() for parameter in self.network.parameters()) / 1e6
        if millions > EXECUTORCH_PARAMETERS / 1e6:
            return {
                "verdict": "refused", "reason": f"too large here: {millions:.0f} M parameters"
            }  # fmt: skip
        return self._file(Pte(largest_batch=BATCH), _executorch, network())

    @torch.no_grad()
    def _file(self, exporter: FileExporter, run: Callable[..., Tensor], network: nn.Module) -> Row:
        """Write a file, which its exporter checks, and run it on other images by hand."""
        images = self._images(101)
        with tempfile.TemporaryDirectory() as folder:
            done = exporter(network, Path(folder, "net"), self._images(100), self._facts())
            found, size = run(done.path, images), done.bytes
        is_float = network is self.network
        floor = FLOAT_DB if is_float else self._floor(images)
        return compared(network(images), found, floor) | {"bytes": size}

    def _floor(self, images: Tensor) -> float:
        own = centred_db(self.converted(images), perturb_rounding(self.converted)(images))
        return min(own - SLACK_DB, INTEGER_DB)

    def _images(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(BATCH, 3, self.side, self.side, generator=generator)

    def _facts(self) -> dict[str, Any]:
        return {
            "class_names": [str(number) for number in range(CLASSES)],
            "mean": [0.5] * 3,
            "std": [0.25] * 3,
            "image_shape": [3, self.side, self.side],
            "preprocess": {"resize": self.side, "crop": self.side},
        }


def judged(work: Callable[[], Row]) -> Row:
    """Return the row of a part, whatever it raises."""
    try:
        return work()
    except PotstillError as error:
        return {"verdict": "refused", "reason": str(error)}
    except Exception as error:  # no refusal of ours, though nothing wrong is left behind
        if "allocate memory" in str(error) or isinstance(error, MemoryError):
            return {"verdict": "refused", "reason": "too large here: not enough memory"}
        line = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        return {"verdict": "WRONG", "reason": line}


def compared(wanted: Tensor, found: Tensor, floor: float) -> Row:
    """Return the row of two sets of logits (N, K): right where they are `floor` dB apart."""
    decibels = centred_db(wanted, found)
    right = decibels >= floor and wanted.shape == found.shape
    return {
        "verdict": "right" if right else "WRONG",
        "reason": "" if right else f"{decibels:.1f} dB where {floor:.1f} are wanted",
        "db": round(min(decibels, 200), 1),
        "floor": round(floor, 1),
        "agreement": (wanted.argmax(1) == found.argmax(1)).double().mean().item(),
    }


def centred_db(wanted: Tensor, found: Tensor) -> float:
    """Return the SQNR of logits (N, K) less their mean over the classes, in decibels."""
    first, second = (x.double() - x.double().mean(1, keepdim=True) for x in (wanted, found))
    signal, noise = first.square().sum().item(), (first - second).square().sum().item()
    if not math.isfinite(noise):
        return -math.inf
    return 10 * math.log10(signal / noise) if noise else math.inf


def _onnx_runtime(path: Path, images: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"image": images.numpy()})[0])


def _executorch(path: Path, images: Tensor) -> Tensor:
    from executorch.runtime import Runtime

    program = Runtime.get().load_program(path.read_bytes())
    return program.load_method("forward").execute([images])[0].clone()
