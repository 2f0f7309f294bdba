"""Unstructured and n:m pruning under masks."""
