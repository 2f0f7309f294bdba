"""Stages of the pipeline that change a network."""
