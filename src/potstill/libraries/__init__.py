"""Optional libraries: imported on use, their messages off the terminal."""

import importlib
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

from potstill.errors import ConfigError

TALKATIVE = ("torch", "torch.export", "torch.onnx", "executorch", "onnxscript", "onnx_ir", "root")
CHATTER = ("[cpuinfo", "[threadpool")


def need(module: str, key: str, extra: str = "export") -> Any:
    """Return a library that only an extra installs.

    Raises:
        ConfigError: if it is not installed; `key` is the setting to name.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{key}: needs {module.partition('.')[0]}, which cannot be imported ({error}). "
            f"Fix: pip install 'potstill[{extra}]'"
        ) from error


def quiet() -> None:
    """Silence Lightning's advertisements and its hints that do not apply here."""
    talkative = (
        "utilities.rank_zero",
        "accelerators.cuda",
        # On Ctrl-C: "`weights_only` was not set", which is about saving and sounds like reading.
        "trainer.connectors.checkpoint_connector",
    )
    for name in talkative:
        logging.getLogger(f"lightning.pytorch.{name}").setLevel(logging.WARNING)
    # "Initializing distributed", from each of several processes.
    logging.getLogger("lightning.fabric.utilities.distributed").setLevel(logging.WARNING)
    hints = (
        r"Experiment logs directory .* exists and is not empty.*",  # earlier attempts are original
        r".*LeafSpec.*",  # Lightning calls a deprecated function of torch
        r"torch\.distributed\.nn\.functional\.all_gather is deprecated.*",  # the same
        r"It is recommended to use `self.log\(.*sync_dist=True\)`.*",  # they are of all already
        r".*does not have many workers.*",  # arrays are already in memory
        r".*Checkpoint directory .* exists and is not empty.*",
        r".*number of training batches .* is smaller than the logging interval.*",
        r".*lr_scheduler.step\(\).*before.*optimizer.step\(\).*",
    )
    for hint in hints:
        warnings.filterwarnings("ignore", hint)


class CapturedStderr:
    """What a library wrote to standard error."""

    text = ""

    @property
    def reason(self) -> str:
        """The first line that is no chatter, the cause of a failure; empty if none."""
        lines = [line for line in self.text.splitlines() if not line.startswith(CHATTER)]
        return lines[0].strip() if lines else ""


@contextmanager
def native_stderr() -> Iterator[CapturedStderr]:
    """Catch what C++ code writes to standard error, which no logger reaches.

    ExecuTorch writes there why a file does not load, and notes on the processor.
    """
    captured, original = CapturedStderr(), os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        writer = io.TextIOWrapper(file, write_through=True)
        try:
            with redirect_stderr(writer):  # bindings may write to Python's own, too
                yield captured
        finally:
            os.dup2(original, 2)
            os.close(original)
            writer.detach()
            file.seek(0)
            captured.text = file.read().decode(errors="replace")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the warnings that converters and readers cause in other libraries off the terminal."""
    levels = {name: logging.getLogger(name).level for name in TALKATIVE}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in levels:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
