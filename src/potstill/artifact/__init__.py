"""Artifacts: one safetensors file a network, from which it is built again."""
