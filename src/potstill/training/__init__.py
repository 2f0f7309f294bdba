"""LightningModule, Trainer, callbacks, checkpoints and schedules."""
