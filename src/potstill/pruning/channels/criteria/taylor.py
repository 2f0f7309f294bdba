"""First-order Taylor expansion of the loss (Molchanov et al. 2019, arXiv:1906.10771)."""

from torch import Tensor, nn

from potstill.libraries.torch import ConvNd
from potstill.pruning.channels.criteria.base import Criterion, over_members
from potstill.pruning.channels.criteria.per_channel import channel_sums
from potstill.pruning.channels.groups import ChannelGroup
from potstill.pruning.channels.slicing import CUTTABLE
from potstill.pruning.channels.statistics import Batches, Loss, gradients
from potstill.pruning.scores import first_order


class Taylor(Criterion):
    """(sum g w)^2 over a channel's weights in a layer, averaged over batches (equation 8).

    Coupled layers add up; layers compare as they are, in squared loss.
    """

    needs = "gradients"

    def __init__(self) -> None:
        self.squares: dict[tuple[str, str], Tensor] = {}

    def observe(self, model: nn.Module, batches: Batches, loss: Loss | None) -> None:
        """Average the squares over all batches."""
        assert loss is not None
        self.squares, count = {}, 0
        for found in gradients(model, batches, loss):
            products = {n: first_order(p, found[n]) for n, p in _parameters(model) if n in found}
            for place, change in _changes(model, products):
                square = change.double().cpu().square()
                self.squares[place] = self.squares.get(place, 0) + square
            count += 1
        self.squares = {place: total / count for place, total in self.squares.items()}

    def __call__(self, group: ChannelGroup) -> Tensor | None:
        """Return one score a channel."""
        return over_members(group, lambda m: self.squares.get((m.path, m.side)), reduce="sum")


def _parameters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return list(model.named_parameters())


def _changes(model: nn.Module, products: dict[str, Tensor]) -> list[tuple[tuple[str, str], Tensor]]:
    """Return ((layer, side), sum of g w a channel) of every layer."""
    changes = []
    for path, module in model.named_modules():
        weight = products.get(f"{path}.weight")
        if not isinstance(module, CUTTABLE) or weight is None:
            continue
        out = channel_sums(weight, module, "out")
        changes.append(((path, "out"), out + products.get(f"{path}.bias", 0)))
        if isinstance(module, (nn.Linear, ConvNd)):
            changes.append(((path, "in"), channel_sums(weight, module, "in")))
    return changes
