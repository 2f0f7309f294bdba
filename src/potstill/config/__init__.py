"""Composition, validation and instantiation of configs; imports no torch."""
