"""Choices of settings that more than one package knows."""

SWITCH = ("auto", True, False)
LOOPS = ("auto", "fast", "lightning")
STORES = ("auto", "off", "read", "refresh")
SELECTIONS = ("last", "best", "ema")
