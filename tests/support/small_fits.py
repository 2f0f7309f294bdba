"""A small network with dropout, trained on made-up images, for the tests of callbacks."""

from functools import partial

import torch

from potstill.data.fake import Fake
from potstill.training.module import DistillationModule


def module(tiny):
    return DistillationModule(
        tiny(seed=0, dropout=0.5),
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        image_shape=(3, 16, 16),
    )


def fit(build, trained, callbacks, **settings):
    data = Fake(num_classes=5, image_size=16, train_size=50, val_size=18, batch_size=8)
    trainer = build(callbacks=callbacks, enable_checkpointing=True, **settings)
    trainer.fit(trained, datamodule=data)
