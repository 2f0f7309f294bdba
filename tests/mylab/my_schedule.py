"""A learning rate that falls in a straight line."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def straight(optimizer: Optimizer, total_steps: int, steps_per_epoch: int) -> LambdaLR:
    """Go from the learning rate to 0 in a straight line."""
    return LambdaLR(optimizer, lambda step: 1 - step / total_steps)
