"""Freezing of observers and batch-norm statistics near the end of QAT.

Averages that go on moving keep the network's grid moving with them (Krishnamoorthi 2018,
arXiv:1806.08342, section 3.2).
"""

from torch import nn

from potstill.errors import ConfigError
from potstill.quantization.layers import FreezableBatchNorm2d
from potstill.quantization.observers import set_observing


def freeze_observers(model: nn.Module) -> None:
    """Fix the range of every activation quantizer; checkpoints hold that it is fixed."""
    set_observing(model, False)


def freeze_batch_norm(model: nn.Module) -> None:
    """Fix the running statistics of batch-norms; checkpoints hold that they are fixed.

    Weight and bias go on training.

    Raises:
        ConfigError: if a batch-norm shared between processes cannot be frozen.
    """
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            raise ConfigError(
                "trainer.sync_batchnorm=true: its statistics cannot be frozen for quantization. "
                "Fix: trainer.sync_batchnorm=false"
            )
        if isinstance(module, FreezableBatchNorm2d):
            module.frozen.fill_(True)
