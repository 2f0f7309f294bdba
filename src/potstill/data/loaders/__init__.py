"""Counted, resumable batches from arrays and from worker processes."""
