"""CSV logger whose metrics.csv a kill cannot tear: each flush replaces the whole file."""

import csv
import io
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from potstill.atomic import write_atomically
from potstill.libraries.lightning import set_writer, writer_of


class _WholeFile(ExperimentWriter):
    """Lightning's writer empties the file to add a column, and appends rows piece by piece."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self._saved = 0
        for leftover in Path(log_dir).glob(f".{self.NAME_METRICS_FILE}.*"):
            leftover.unlink()  # of a killed attempt

    def save(self) -> None:
        """Write all rows so far; columns by name."""
        if len(self.metrics) == self._saved:
            return
        text = io.StringIO(newline="")
        names = sorted({name for row in self.metrics for name in row})
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.metrics)
        write_atomically(Path(self.metrics_file_path), text.getvalue())
        self._saved = len(self.metrics)


class MetricsFile(CSVLogger):
    """Lightning's CSVLogger with a file that is whole at any moment.

    Attributes:
        keeps_epochs_alone: single steps are left to dashboards; with them, a file that is
            rewritten each time would grow with every one.
    """

    keeps_epochs_alone = True

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer of this folder's metrics.csv."""
        if (writer := writer_of(self)) is not None:
            return writer
        Path(self.root_dir).mkdir(parents=True, exist_ok=True)
        return set_writer(self, _WholeFile(self.log_dir))
