"""Structured pruning of coupled channels."""
