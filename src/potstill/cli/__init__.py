"""The command line: `potstill` and `train.py`, their arguments and the one line of an error."""
