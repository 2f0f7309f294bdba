"""Importance criteria of single weights."""
