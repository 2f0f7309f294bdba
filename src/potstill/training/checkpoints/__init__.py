"""Checkpoints: files, identity and exact resumption."""
