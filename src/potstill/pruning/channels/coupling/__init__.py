"""Dependency tracing: which channels of which parameters go together.

Ours instead of torch-pruning's graph, for a reason: to that graph (1.6) an operator it does not
know, a flip of the channels say, is elementwise, so that it cuts other channels than those that are
read, and nothing tells. Here labels travel through every operator of one forward pass, and an
operator without a rule holds its channels in place. On networks that both follow, tests hold the
slices to torch-pruning's.
"""
