"""Channel pruning of a network of the zoo, compared with the dense network's own forward pass."""

import warnings
from typing import Any

import torch
from torch import Tensor
from zoo_members import Member
from zoo_oracle import dense_without

from potstill.errors import PotstillError
from potstill.pruning.channels.criteria.l2_magnitude import L2Magnitude
from potstill.pruning.channels.prune import prune_channels
from potstill.pruning.channels.target import Target

TOLERANCE = 1e-6  # of the largest logit, in float64
Row = dict[str, Any]


def prune(member: Member, side: int) -> Row:
    """Return what becomes of a network half of whose channels go."""
    dense, pruned, row = member.build(side), member.build(side), {}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            done = prune_channels(pruned, (3, side, side), L2Magnitude(), Target(ratio=0.5))
        except PotstillError as error:
            return {"verdict": "refused", "reason": str(error)}
        except Exception as error:  # whatever a network of somebody else's raises
            return {"verdict": "WRONG", "reason": _line(error)}
    row["macs"] = round(done.reached["macs"] / done.dense["macs"], 4)
    row["whole"] = sum("keep all channels" in str(one.message) for one in said)
    image = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(7))
    try:
        row["error"] = _error(dense, pruned, done.plan, image)
    except Exception as error:
        return row | {"verdict": "not compared", "reason": _line(error)}
    return row | {"verdict": "right" if row["error"] <= TOLERANCE else "WRONG", "reason": ""}


@torch.no_grad()
def _error(
    dense: torch.nn.Module, pruned: torch.nn.Module, plan: Any, image: torch.Tensor
) -> float:
    """Return the largest difference of the logits, as a share of the largest logit."""
    try:
        found, wanted = _both(dense.double(), pruned.double(), plan, image.double())
    except RuntimeError:  # computes in float32 whatever it is given
        found, wanted = _both(dense.float(), pruned.float(), plan, image)
    scale = wanted.abs().max()
    limit = 1 if found.dtype == torch.float64 else 1e3  # float32 rounds sooner
    return ((found - wanted).abs().max() / scale / limit).item()


def _both(dense: Any, pruned: Any, plan: Any, image: Tensor) -> tuple[Any, Any]:
    return pruned(image), dense_without(dense, plan)(image)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
