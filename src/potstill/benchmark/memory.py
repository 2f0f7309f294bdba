"""Peak memory of a file's inference, in a process that does nothing else."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RUNS = 3


def peak_bytes(path: Path, image_shape: Sequence[int], batch: int = 1) -> int | None:
    """Return by how many bytes a fresh process's resident memory peaks above its start.

    The start is after the libraries were imported and before the file is opened; the peak is
    over opening it and running `batch` images of `image_shape` (C, H, W) on one thread. So it
    is what weights, activations and the engine's own arenas take, without the libraries. None
    where the system has no such count (it is Linux's) or the file cannot be run so.
    """
    sizes = [str(size) for size in (batch, *image_shape)]
    command = [sys.executable, "-m", "potstill.benchmark.memory", str(path), *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else None


def grown(path: Path, shape: Sequence[int]) -> int:
    """Return the same of this process; see `peak_bytes`."""
    import torch

    from potstill.benchmark.open_file import open_file, runtime_of
    from potstill.libraries import native_stderr, quiet_libraries

    torch.set_num_threads(1)
    with native_stderr(), quiet_libraries():
        runtime_of(path).import_library()
    # Kernels that PyTorch makes ready at its first convolution belong to the library.
    torch.nn.functional.conv2d(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 3, 3))
    images = torch.zeros(*shape)
    CLEAR_REFS.write_text("5")  # sets the peak to what is resident now
    start = _kilobytes("VmRSS")
    run = open_file(path).bind(images)
    for _ in range(RUNS):
        run()
    return 1024 * max(0, _kilobytes("VmHWM") - start)


def _kilobytes(name: str) -> int:
    lines = STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    print(grown(Path(sys.argv[1]), [int(size) for size in sys.argv[2:]]))
