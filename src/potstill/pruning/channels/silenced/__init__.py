"""The dense network with channels silenced: the reference that a pruned network must equal."""
