"""Choice of precision, memory layout and compilation where settings are `auto`."""

import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelPruning
from omegaconf import DictConfig
from torch import nn
from torch.optim import LBFGS

from potstill.errors import ConfigError
from potstill.libraries.torch import has_triton

AUTO = "auto"
HALF_MIXED = ("16-mixed", "16")
# Steps after which what a compiled step saves has paid for compiling it, with room to spare;
# measured with ResNets at 64 and 128 images of 32 pixels: 90 to 1,300.
BREAK_EVEN_STEPS = 2000


def has_matrix_units(device: torch.device) -> bool:
    """Return whether `device` multiplies bfloat16 matrices several times as fast as float32.

    On a CPU that is AMX; without it, autocast only adds conversions.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_tile", False))


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return the Trainer's `precision`; "auto" is "bf16-mixed" where that is faster.

    Raises:
        ConfigError: for float16 autocast on a CPU, where Lightning would take bfloat16 instead.
    """
    if precision in HALF_MIXED and device.type == "cpu":
        raise ConfigError(
            f"trainer.precision={precision}: no float16 autocast on a CPU. "
            "Fix: trainer.precision=auto or bf16-mixed"
        )
    if precision != AUTO:
        return precision
    return "bf16-mixed" if has_matrix_units(device) else "32-true"


def settle_precision(cfg: DictConfig, device: torch.device) -> DictConfig:
    """Return a run's config with what "auto" means on `device`, for the run and its stages.

    Before anything reads it: another precision is another run.
    """
    settled = cfg.copy()
    stages = (stage.get("trainer") for stage in (settled.get("stages") or {}).values() if stage)
    for trainer in (settled.trainer, *stages):
        given = str(trainer.get("precision")) if trainer else ""
        if (precision := resolve_precision(given, device)) != given:
            trainer.precision = precision
    return settled


def half_of(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the half precision a network computes in at best, None for float32.

    Where autocast would be slower than float32 there is none, whatever `precision` is.
    """
    if "16" not in precision or not (device.type == "cuda" or has_matrix_units(device)):
        return None
    return torch.bfloat16 if "bf16" in precision else torch.float16


def use_channels_last(
    setting: bool | str,
    device: torch.device,
    precision: str,
    network: nn.Module | None = None,
    flattens: bool = False,
) -> bool:
    """Return whether weights are laid out channels last; "auto": where its kernels are faster.

    On a GPU that takes half precision, whose tensor cores work on this layout.

    Args:
        setting: true, false or "auto".
        device: of the training.
        precision: the Trainer's.
        network: the student, where it is there.
        flattens: whether something flattens weights by view, which this layout does not allow.

    Raises:
        ConfigError: if `setting` is none of the three, or is true and cannot work: for a
            `network` in which nothing has channels to lay out, or where something flattens.
    """
    wanted = _flag("channels_last", setting)
    if wanted and network is not None and not any(p.dim() == 4 for p in network.parameters()):
        raise ConfigError(
            "channels_last=true: the student has no convolutions. Fix: channels_last=auto"
        )
    if flattens:
        if wanted:
            raise ConfigError(
                "channels_last=true: a callback or optimizer flattens weights by view, which needs "
                "another layout. Fix: channels_last=auto"
            )
        return False
    if wanted is not None:
        return wanted
    return device.type == "cpu" or (device.type == "cuda" and "16" in precision)


def flattens(callbacks: Iterable[pl.Callback], optimizer: Callable[..., Any]) -> bool:
    """Return whether a callback or an optimizer (a partial call) flattens weights by view."""
    prunes = any(isinstance(callback, ModelPruning) for callback in callbacks)
    return prunes or getattr(optimizer, "func", optimizer) is LBFGS


def lay_out(network: nn.Module) -> nn.Module:
    """Lay the convolutions' weights out channels last, in place; values and names stay.

    Before the optimizer is made, and after whatever replaces layers.
    """
    return network.to(memory_format=torch.channels_last)


def use_compile(
    setting: bool | str,
    device: torch.device,
    steps: int,
    precision: str,
    layers: Sequence[str] = (),
) -> bool:
    """Return whether a network's training step is compiled.

    "auto" compiles where matrix units leave the time to what compiling fuses (with plain
    float32 it saved 2 to 4 %, which no run earns back soon) and the fit is long enough.
    It depends on the whole fit, not on the steps that a resumed run has left: compiled and
    eager steps round differently, and a resumed run must round as before.

    Args:
        setting: true, false or "auto".
        device: of the training.
        steps: of the whole fit.
        precision: the Trainer's.
        layers: the network's layers that heads read. Hooks come and go with each call, which a
            compiled network does not see: it would run without them.

    Raises:
        ConfigError: if it is true and cannot work.
    """
    wanted = _flag("compile", setting)
    if wanted is None:
        pays = steps >= BREAK_EVEN_STEPS and "16" in precision and has_matrix_units(device)
        return pays and not layers and has_compiler(device)
    if wanted and layers:
        raise ConfigError(
            f"compile=true: heads read {', '.join(layers)}, and a compiled network has no "
            "layers to hook. Fix: compile=auto, or heads of the logits alone"
        )
    if wanted and not has_compiler(device):
        raise ConfigError(
            f"compile=true: nothing here compiles for {device.type}. "
            "Fix: compile=false, or install a C++ compiler"
        )
    return wanted


def has_compiler(device: torch.device) -> bool:
    """Return whether torch.compile has what it needs: Triton for a GPU, else a C++ compiler."""
    if device.type == "cuda":
        return has_triton()
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))


def compiled(network: nn.Module) -> Callable[..., Any]:
    """Return a compiled way to call `network`, which itself stays as it is.

    So its state has no other names, its copies and its exports are not compiled, and
    validation costs no second compilation. For shapes that stay the same from step to step.
    """
    # The compiler keeps what it made by the processor's vectors, not by those torch is told to
    # use (ATEN_CPU_CAPABILITY): AVX-512 loops, built with AVX2, would compute half of a vector.
    narrow = torch.backends.cpu.get_cpu_capability() == "AVX2"
    return torch.compile(network, dynamic=False, options={"cpp.simdlen": 256} if narrow else None)


def _flag(name: str, setting: bool | str) -> bool | None:
    """Return a setting, None for "auto"."""
    if setting == AUTO:
        return None
    if not isinstance(setting, bool):
        raise ConfigError(f"{name}={setting}: unknown. Fix: {name}=auto, true or false")
    return setting
