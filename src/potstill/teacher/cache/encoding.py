"""Encodings of cached outputs: half precision, whole or the top k and the rest's mass."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from potstill.errors import DataError

Columns = dict[str, Tensor]
PRECISIONS = {"float16": torch.float16, "float32": torch.float32}


class CachedOutputs(NamedTuple):
    """A teacher's outputs for N images: logits (N, K) and pooled features (N, D), float32."""

    logits: Tensor
    pooled: Tensor | None = None

    def cpu(self) -> "CachedOutputs":
        """Return the same outputs on the CPU."""
        return CachedOutputs(self.logits.cpu(), None if self.pooled is None else self.pooled.cpu())


@dataclass(frozen=True)
class Encoding:
    """Encoding of outputs as columns, tensors with one row an image.

    With `top_k` the k largest logits are stored with the log-sum-exp of the others (top-k labels
    as in FKD, Shen and Xing 2022, arXiv:2112.01528); on reading, the others share that
    mass evenly. So the softmax at T = 1 has every stored class and the whole remainder right. It is
    inexact in the tail at any other temperature (at T > 1 the remainder is overstated: an even
    tail is the flattest), and for heads that compare logits themselves.
    """

    num_classes: int
    precision: str = "float16"
    top_k: int | None = None
    dim_pooled: int = 0

    @property
    def columns(self) -> dict[str, tuple[int, torch.dtype]]:
        """Width and type of each column, by its name in a segment file."""
        value = PRECISIONS[self.precision]
        index = torch.int16 if self.num_classes <= 2**15 else torch.int32
        if self.top_k is None:
            found = {"logits": (self.num_classes, value)}
        else:
            found = {"index": (self.top_k, index), "value": (self.top_k, value), "rest": (1, value)}
        return found | ({"pooled": (self.dim_pooled, value)} if self.dim_pooled else {})

    @property
    def row_bytes(self) -> int:
        """Bytes of one image's outputs."""
        return sum(width * dtype.itemsize for width, dtype in self.columns.values())

    def empty(self, rows: int, device: torch.device | str = "cpu") -> Columns:
        """Return columns of zeros for `rows` images."""
        return {
            name: torch.zeros(rows, width, dtype=dtype, device=device)
            for name, (width, dtype) in self.columns.items()
        }

    def encode(self, outputs: CachedOutputs) -> Columns:
        """Return outputs as columns.

        Raises:
            DataError: if a value is not finite, or too large for the precision.
        """
        logits = outputs.logits.float()
        found = {"logits": logits} if self.top_k is None else self._top(logits)
        if self.dim_pooled:
            assert outputs.pooled is not None
            found["pooled"] = outputs.pooled
        columns = {name: found[name].to(dtype) for name, (_, dtype) in self.columns.items()}
        if not all(bool(column.isfinite().all()) for column in columns.values()):
            largest = max(float(part.abs().max()) for part in outputs if part is not None)
            raise DataError(
                f"teacher.precision={self.precision}: the teacher's outputs reach {largest:g}, "
                f"past {torch.finfo(PRECISIONS[self.precision]).max:g}. Fix: teacher.precision="
                "float32, or look at the teacher's weights"
            )
        return columns

    def _top(self, logits: Tensor) -> Columns:
        value, index = logits.topk(self.top_k or 0, dim=1)  # (N, k)
        return {"index": index, "value": value, "rest": _rest(logits, index)}

    def decode(self, columns: Columns) -> CachedOutputs:
        """Return the outputs that columns encode."""
        pooled = columns["pooled"].float() if self.dim_pooled else None
        if self.top_k is None:
            return CachedOutputs(columns["logits"].float(), pooled)
        others = columns["rest"].float() - math.log(self.num_classes - self.top_k)  # (N, 1)
        logits = others.repeat(1, self.num_classes)
        return CachedOutputs(
            logits.scatter_(1, columns["index"].long(), columns["value"].float()), pooled
        )

    def difference(self, columns: Columns, outputs: CachedOutputs) -> Tensor:
        """Return by how much each row (N,) is off, relative to its largest value, or to 1.

        The classes compared are those that were stored: near a tie, a second run of the teacher
        may rank others among its top k.
        """
        logits = outputs.logits.float()
        wanted, found = [logits], [columns.get("logits")]
        if self.top_k is not None:
            index = columns["index"].long().clamp(0, self.num_classes - 1)
            wanted = [logits.gather(1, index), _rest(logits, index)]
            found = [columns["value"], columns["rest"]]
        if outputs.pooled is not None and self.dim_pooled:
            wanted.append(outputs.pooled.float())
            found.append(columns["pooled"])
        pairs = zip(found, wanted, strict=True)
        return torch.stack([_relative(f, w) for f, w in pairs if f is not None]).amax(0)


def _rest(logits: Tensor, index: Tensor) -> Tensor:
    """Return the log-sum-exp (N, 1) of the logits that `index` (N, k) leaves out."""
    return logits.scatter(1, index, -math.inf).logsumexp(1, keepdim=True)


def _relative(found: Tensor, wanted: Tensor) -> Tensor:
    return (found.float() - wanted).abs().amax(1) / wanted.abs().amax(1).clamp_min(1.0)
