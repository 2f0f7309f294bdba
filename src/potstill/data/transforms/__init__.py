"""Augmentation as a pure function of seed, epoch and sample id."""
