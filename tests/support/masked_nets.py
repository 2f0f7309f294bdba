"""Networks pruned under masks in one call, and their zeros counted."""

from potstill.pruning.weights.criteria.magnitude import Magnitude
from potstill.pruning.weights.masks import prunable, set_masks
from potstill.pruning.weights.select import check_sparsity, choose_masks, choose_pattern


def update_masks(model, sparsity, criterion=None, scope="layer"):
    """Prune the masked weights to `sparsity` as the stage does; return how many fell now."""
    check_sparsity(model, sparsity, criterion or Magnitude(), scope)
    return set_masks(model, choose_masks(model, sparsity, criterion, scope))


def update_pattern(model, n=2, m=4, criterion=None):
    """Leave n of every m weights along the input; return how many fell now."""
    return set_masks(model, choose_pattern(model, n, m, criterion))


def zeros_by_weight(model):
    """Return the zeros of each weight that could be pruned, by path."""
    return {place.path: int((place.weight == 0).sum()) for place in prunable(model)}
