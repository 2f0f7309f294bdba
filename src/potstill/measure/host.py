"""Description of the machine: name, processor features, library versions."""

import os
import platform
import re
from pathlib import Path
from typing import Any

import torch

# What integer and half-precision kernels are chosen by, as torch names it; on ARM, "dot" is
# dotprod.
FEATURES = (
    *("avx2", "fma3", "avx512_f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8"),
    *("amx_bf16", "neon", "dot", "i8mm", "bf16", "sve"),
)


def machine() -> dict[str, Any]:
    """Return what the numbers were measured on."""
    return {
        "cpu": _cpu_name(),
        "features": " ".join(cpu_features()) or None,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def cpu_features() -> tuple[str, ...]:
    """Return which of `FEATURES` the processor has; without VNNI, int8 gains little on x86."""
    found = torch.cpu.get_capabilities()
    return tuple(name for name in FEATURES if found.get(name))


def _cpu_name() -> str | None:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or None
