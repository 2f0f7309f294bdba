"""All rules of operators; importing this registers them."""

from potstill.pruning.channels.coupling import layers, pieces, reductions, resampling, shapes

__all__ = ["layers", "pieces", "reductions", "resampling", "shapes"]
