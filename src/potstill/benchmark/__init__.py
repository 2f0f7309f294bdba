"""Measurement of files of any format side by side: `potstill measure`."""
