"""Checkpoint reading and writing of Lightning's Trainer: whole files, verified."""

from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import CheckpointIO

from potstill.training.checkpoints import files


class CheckedIO(CheckpointIO):
    """Write every checkpoint of a Trainer whole, and read none that is damaged."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Write it beside its place, then move it there; the manifest last."""
        files.write(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Return what `path` holds, on the CPU: tensors and plain values, never more."""
        return files.read(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)
