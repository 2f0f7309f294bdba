"""Write buffer of a cache: rows that no segment holds yet."""

import torch
from torch import Tensor

from potstill.teacher.cache.encoding import Columns

SMALLEST = 1024  # rows


class WriteBuffer:
    """A growing buffer of rows and their columns.

    Args:
        columns: without rows, for their widths and types.
    """

    def __init__(self, columns: Columns) -> None:
        self.columns, self.count = columns, 0
        self.rows = torch.empty(0, dtype=torch.int64)

    def add(self, rows: Tensor, columns: Columns) -> Tensor:
        """Append rows and return their places in the buffer."""
        first, self.count = self.count, self.count + len(rows)
        if self.count > len(self.rows):
            self._grow(max(2 * self.count, SMALLEST))
        self.rows[first : self.count] = rows
        for name, part in columns.items():
            self.columns[name][first : self.count] = part
        return torch.arange(first, self.count)

    def _grow(self, size: int) -> None:
        def larger(part: Tensor) -> Tensor:
            grown = part.new_zeros(size, *part.shape[1:])
            grown[: len(part)] = part
            return grown

        self.rows = larger(self.rows)
        self.columns = {name: larger(part) for name, part in self.columns.items()}

    def take(self) -> tuple[Tensor, Columns]:
        """Return the rows and columns that were added."""
        columns = {name: part[: self.count] for name, part in self.columns.items()}
        return self.rows[: self.count], columns
