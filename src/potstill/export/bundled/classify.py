#!/usr/bin/env python3
"""Classify images with the network in this folder.

Examples:
  python classify.py photo.jpg images/ --top 3
  rpicam-still --immediate --nopreview --encoding jpg --output - | python classify.py -
  python classify.py --benchmark photo.jpg

Each line is an image, a label, its probability and the network's time, with tabs between. A
image that cannot be read is one line on standard error, and the others are classified all the
same. Exit code: 0 fine, 1 if an image failed, 2 if none could be classified at all.
"""

# For Python 3.9 and newer, on a device that has this folder and nothing else of the project.
from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import json
import os
import sys
import time
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

try:
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError
except ImportError as missing:
    print(f"error: {missing}. Fix: pip install numpy Pillow", file=sys.stderr)
    sys.exit(2)

HERE = Path(__file__).resolve().parent
# What each model needs, the first that is installed is run.
RUNTIMES = {
    ".onnx": ("onnxruntime",),
    ".tflite": ("ai_edge_litert",),
    ".xml": ("openvino",),
    ".pte": ("executorch", "torch"),
}
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
STDIN = "-"
WARM_UP = 10


class SetupError(Exception):
    """The folder, or what is installed, cannot classify anything."""


class Classifier:
    """A model beside labels.txt and preprocess.json; `upright` applies the EXIF orientation."""

    def __init__(self, model: Path, threads: int = 1, upright: bool = False) -> None:
        self.model, self.upright = model, upright
        check_sums([HERE / "preprocess.json", HERE / "labels.txt", *parts(model)])
        try:
            about = json.loads((HERE / "preprocess.json").read_text(encoding="utf-8"))
            labels = (HERE / "labels.txt").read_text(encoding="utf-8")
            self.labels = labels.rstrip("\n").split("\n")
            self.resize, self.crop = (int(about["preprocess"][key]) for key in ("resize", "crop"))
            mean, std = (255 * np.array(about[key], np.float32) for key in ("mean", "std"))
            self.mean, self.std = mean.reshape(3, 1, 1), std.reshape(3, 1, 1)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SetupError(f"{HERE}: {reason(error)}. Fix: copy the whole folder") from error
        self.logits = open_model(model, threads)
        try:
            count = len(self.logits(self.blank()))
        except Exception as error:  # of another shape than in preprocess.json
            raise SetupError(f"{model}: {reason(error)}. Fix: copy the whole folder") from error
        if count != len(self.labels):
            wrong = f"labels.txt: {len(self.labels)} labels for {count} classes"
            raise SetupError(f"{HERE}: {wrong}. Fix: a line for each class")

    def blank(self) -> Any:
        """Return an image of nothing, as `prepare` returns one."""
        return np.zeros((1, 3, self.crop, self.crop), np.float32)

    def read(self, source: str) -> Any:
        """Return the image in a file, or on standard input, as `prepare` returns it."""
        if os.path.isdir(source):
            raise ValueError("a folder without images")
        file = io.BytesIO(sys.stdin.buffer.read()) if source == STDIN else source
        with Image.open(file) as image:
            image.load()
            return self.prepare(to_rgb(ImageOps.exif_transpose(image) if self.upright else image))

    def prepare(self, image: Any) -> Any:
        """Return the middle of an RGB image, resized and normalised, (1, 3, H, W) float32."""
        width, height = image.size
        wide, high = (int(self.resize * side / min(image.size)) for side in image.size)
        left, top = (round((side - self.crop) / 2) for side in (wide, high))
        right, bottom = left + self.crop, top + self.crop
        # Only the middle is resized: all of a long panorama may not fit the memory.
        box = (
            left * width / wide,
            top * height / high,
            min(right * width / wide, width),
            min(bottom * height / high, height),
        )
        image = image.resize((self.crop, self.crop), Image.Resampling.BILINEAR, box)
        pixels = np.asarray(image, np.float32).transpose(2, 0, 1)
        return np.ascontiguousarray((pixels - self.mean) / self.std)[None]


def parts(model: Path) -> list[Path]:
    """Return a model's file and those of the same name beside it, which hold its weights."""
    return [model, *(file for file in model.parent.glob(f"{model.stem}.*") if file != model)]


def check_sums(files: list[Path]) -> None:
    """Raise where a file of this folder is not what its line in SHA256SUMS was made of."""
    own = [file for file in files if file.resolve().parent == HERE]
    try:
        lines = (HERE / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
        listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in own}
    except (OSError, ValueError) as error:
        raise SetupError(f"{HERE}: {reason(error)}. Fix: copy the whole folder") from error
    wrong = [name for name, digest in found.items() if listed.get(name, digest) != digest]
    wrong += [name for name in listed if not (HERE / name).is_file()]
    if wrong:
        fix = "copy the whole folder; of a file you edited, take the line out of SHA256SUMS"
        raise SetupError(f"{HERE}: {wrong[0]} is not as SHA256SUMS has it. Fix: {fix}")


def to_rgb(image: Any) -> Any:
    """Return an image in RGB, grey as three equal channels; of 16 bits the upper 8."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.array(image).astype(np.uint16) >> 8).astype(np.uint8))
    return image.convert("RGB")


def softmax(logits: Any) -> Any:
    """Return the probabilities (K,) of logits (K,)."""
    powers = np.exp(logits.astype(np.float64) - logits.max())
    return powers / powers.sum()


def find_model() -> Path:
    """Return the first model here whose runtime is installed, or the first there is."""
    files = [file for suffix in RUNTIMES if (file := HERE / f"model{suffix}").is_file()]
    if not files:
        raise SetupError(f"{HERE}: no model{'|'.join(RUNTIMES)}. Fix: copy the whole folder")
    runs = [f for f in files if all(importlib.util.find_spec(name) for name in RUNTIMES[f.suffix])]
    return (runs or files)[0]


def open_model(file: Path, threads: int) -> Callable[[Any], Any]:
    """Return a function from an image (1, 3, H, W) to its logits (K,)."""
    try:
        with silence():
            return OPENERS.get(file.suffix, open_onnx)(file, threads)
    except ImportError as error:
        fix = f"pip install {' '.join(RUNTIMES.get(file.suffix, RUNTIMES['.onnx']))}"
        raise SetupError(f"{file}: {error}. Fix: {fix}") from error
    except Exception as error:  # the runtimes' own exceptions share no class
        raise SetupError(f"{file}: {reason(error)}. Fix: copy it again") from error


def open_onnx(file: Path, threads: int) -> Callable[[Any], Any]:
    """Return a function from an image (1, C, H, W) to its logits (K,), run by ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # what fails is raised as well
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})[0][0]


def open_pte(file: Path, threads: int) -> Callable[[Any], Any]:
    """Return a function from an image (1, C, H, W) to its logits (K,), run by ExecuTorch."""
    import torch
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    portable_lib._unsafe_reset_threadpool(threads)
    program = Runtime.get().load_program(file.read_bytes())
    program.load_method("forward")

    def run(image: Any) -> Any:  # the program must live as long as its method, which it keeps
        return program.load_method("forward").execute([torch.from_numpy(image)])[0][0].numpy()

    return run


def open_tflite(file: Path, threads: int) -> Callable[[Any], Any]:
    """Return a function from an image (1, C, H, W) to its logits (K,), run by LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=file.read_bytes(), num_threads=threads)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    found = interpreter.get_output_details()[0]["index"]

    def run(image: Any) -> Any:
        interpreter.set_tensor(given, image)
        interpreter.invoke()
        return interpreter.get_tensor(found)[0]

    return run


def open_xml(file: Path, threads: int) -> Callable[[Any], Any]:
    """Return a function from an image (1, C, H, W) to its logits (K,), run by OpenVINO."""
    import openvino

    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    settings["INFERENCE_PRECISION_HINT"] = "f32"  # some processors would compute in bfloat16
    if not file.with_suffix(".bin").is_file():
        raise FileNotFoundError(f"no {file.stem}.bin beside it")
    compiled = openvino.Core().compile_model(file, "CPU", settings)
    return lambda image: compiled(image)[0][0].copy()


OPENERS = {".onnx": open_onnx, ".tflite": open_tflite, ".xml": open_xml, ".pte": open_pte}


@contextmanager
def silence() -> Iterator[None]:
    """Drop what a runtime's C++ code writes to standard error while it loads."""
    sys.stderr.flush()
    original, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
        os.close(nothing)


def reason(error: BaseException) -> str:
    """Return an error's message in one line, without the file's name."""
    if isinstance(error, UnidentifiedImageError):
        return "no image that Pillow can read"
    message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(message.split()) or type(error).__name__


def line(text: str) -> str:
    """Return a name with its control characters and line ends written out."""
    unseen = ("Cc", "Zl", "Zp")
    return "".join(
        repr(letter)[1:-1] if unicodedata.category(letter) in unseen else letter for letter in text
    )


def images(sources: list[str]) -> Iterator[str]:
    """Yield every image that is named, and what is named like one in folders, or the folder."""
    for source in sources:
        inside = (
            os.path.join(folder, name)
            for folder, _, names in sorted(os.walk(source))
            for name in sorted(names)
            if name.lower().endswith(SUFFIXES)
        )
        yield next(inside, source)
        yield from inside


def readable(classifier: Classifier, sources: list[str], failed: list[str]) -> Iterator[Any]:
    """Yield each image's name, the image, and the seconds it took to read.

    What cannot be read is one line on standard error, and is added to `failed`.
    """
    for source in images(sources):
        start = time.perf_counter()
        try:
            image = classifier.read(source)
        except Exception as error:  # a damaged file makes Pillow raise nearly anything
            failed.append(source)
            print(f"error: {line(source)}: {reason(error)}", file=sys.stderr, flush=True)
            continue
        yield source, image, time.perf_counter() - start


def classify(classifier: Classifier, sources: list[str], top: int) -> int:
    """Print the most probable labels of every image; return the exit code."""
    failed: list[str] = []
    for source, image, _ in readable(classifier, sources, failed):
        start = time.perf_counter()
        logits = classifier.logits(image)
        milliseconds = 1000 * (time.perf_counter() - start)
        shares = softmax(logits)
        for k in np.argsort(-shares, kind="stable")[:top]:
            numbers = f"{100 * shares[k]:.2f} %\t{milliseconds:.2f} ms"
            print(f"{line(source)}\t{line(classifier.labels[k])}\t{numbers}", flush=True)
    return 1 if failed else 0


def benchmark(classifier: Classifier, sources: list[str], runs: int, threads: int) -> int:
    """Print how long the network takes, and how long the images take to read."""
    failed: list[str] = []
    read = list(islice(readable(classifier, sources, failed), WARM_UP))  # all may not fit
    shown = [image for _, image, _ in read] or [classifier.blank()]
    times = []
    for turn in range(WARM_UP + runs):
        start = time.perf_counter()
        classifier.logits(shown[turn % len(shown)])
        times.append(time.perf_counter() - start)
    print(f"{classifier.model.name}\tthreads {threads}\tone image at a time")
    for name, seconds in (("network", times[WARM_UP:]), ("reading", [one[2] for one in read])):
        if seconds:
            median, slow = 1000 * np.percentile(seconds, [50, 95])
            print(f"{name}\tmedian {median:.2f} ms\tp95 {slow:.2f} ms\tof {len(seconds)}")
    return 1 if failed else 0


def positive(text: str) -> int:
    """Return a number of 1 or more."""
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog=(__doc__ or "").partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cores = os.cpu_count() or 1
    parser.add_argument("images", nargs="*", help="files, folders, or - for standard input")
    parser.add_argument("--top", type=positive, default=1, help="labels for each image (1)")
    parser.add_argument("--threads", type=positive, default=cores, help=f"({cores})")
    parser.add_argument(
        "--upright", action="store_true", help="apply the EXIF orientation of photos"
    )
    parser.add_argument("--model", type=Path, help="another file than the first it can run")
    parser.add_argument("--benchmark", action="store_true", help="time the network")
    parser.add_argument("--runs", type=positive, default=100, help="of the benchmark (100)")
    given = parser.parse_args(argv)
    if not given.images and not given.benchmark:
        parser.error("no images: files, folders, - or --benchmark")
    # Pillow warns of images so large that they may be an attack, and of harmless things.
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        classifier = Classifier(given.model or find_model(), given.threads, given.upright)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.benchmark:
        return benchmark(classifier, given.images, given.runs, given.threads)
    return classify(classifier, given.images, given.top)


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever reads the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
