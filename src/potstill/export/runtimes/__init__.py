"""Runtimes that execute exported files."""
