"""Dependency tracing: which channels of which parameters go together."""
