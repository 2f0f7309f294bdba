"""Importance criteria of channels."""
