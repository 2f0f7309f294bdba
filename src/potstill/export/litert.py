"""LiteRT export, `.tflite`: one image at a time, float32 or int8 that LiteRT computes."""

import io
import re
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from potstill.errors import DataError
from potstill.export.base import describe_file, reason
from potstill.export.formats import FileExporter
from potstill.export.in_int8 import check_in_int8
from potstill.export.litert_int8 import KEY, float_ends, float_weights, in_float
from potstill.export.runtimes.litert import EXTRA, PREPROCESS, LiteRt
from potstill.export.torch_export import capture
from potstill.libraries import native_stderr, need, quiet_libraries
from potstill.quantization.convert import is_converted
from potstill.quantization.dynamic import is_dynamic

LABELS = "labels.txt"


class TfLite(FileExporter):
    """Write a file for one image at a time; its labels and preprocessing follow as a zip archive.

    The archive after the model is where LiteRT's metadata puts associated files. The converter
    follows no batch size that varies, and an interpreter whose input is resized may give other
    logits without a word.

    Args:
        threads: the check runs on.
    """

    suffix, engine, runtime = ".tflite", "litert", LiteRt

    def content(self, network: nn.Module, images: Tensor, facts: Mapping[str, Any]) -> bytes:
        """Return the model, and the archive after it."""
        model = convert(network, images)
        if integer := is_converted(network):
            check_in_int8(network, in_float(model), KEY, LiteRt.name)
            model = float_ends(model)
        files = {PREPROCESS: describe_file(facts, integer)}
        if names := facts.get("class_names"):
            files[LABELS] = "\n".join(names) + "\n"
        return with_archive(model, files)


def convert(network: nn.Module, images: Tensor) -> bytes:
    """Return the model of a network that takes an image (1, C, H, W), whose ends are int8 in int8.

    Raises:
        ConfigError: if litert-torch is not installed.
        DataError: if it cannot be written.
    """
    if is_dynamic(network):
        raise DataError(
            f"{KEY}: no LiteRT operator quantizes each row by itself, as int8 of linear layers "
            "alone does. Fix: another stage (ptq or qat), or export=executorch"
        )
    with native_stderr(), redirect_stdout(io.StringIO()), quiet_libraries():
        library = need("litert_torch", KEY, EXTRA)
        graph = capture(network, images, KEY, 1).module(check_guards=False)
        settings = {}
        if is_converted(network):
            graph, settings = float_weights(graph), {"quant_config": _static_int8()}
        graph.training = False  # a captured graph refuses eval(), and the converter warns
        try:
            model = library.convert(graph, (images[:1].contiguous(),), **settings)
        except Exception as error:  # the converter's stages each raise their own
            raise DataError(
                f"{KEY}: the network cannot be written ({_why(error)}). "
                "Fix: another export, or a network without that layer"
            ) from error
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "model.tflite")
            model.export(str(file))
            return file.read_bytes()


def with_archive(model: bytes, files: Mapping[str, str]) -> bytes:
    """Return a model with text files in a zip archive after it."""
    buffer = io.BytesIO(model)
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)  # dated 1980, so that files are equal
    return buffer.getvalue()


def _static_int8() -> Any:
    """Return the setting by which the converter reads quantize operators as int8."""
    config = need("litert_torch.quantize.quant_config", KEY, EXTRA)
    pt2e = need("litert_torch.quantize.pt2e_quantizer", KEY, EXTRA)
    scheme = pt2e.get_symmetric_quantization_config(is_per_channel=True)
    return config.QuantConfig(pt2e_quantizer=pt2e.PT2EQuantizer().set_global(scheme))


def _why(error: Exception) -> str:
    """Return the first line of an error of the converter, after the operator where it names one."""
    operator = re.search(r"target=torch\.ops\.([\w.]+)\]", str(error))
    # Before what is wrong, a pass names the line of Python that the operator came from.
    said = re.sub(r"^.*?: error: ", "", reason(error))
    return f"{operator[1]}: {said}" if operator else said
