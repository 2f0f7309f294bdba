"""Counts, latency and metrics of networks."""
