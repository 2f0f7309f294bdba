"""Launching, environment and collectives of runs in several processes."""
