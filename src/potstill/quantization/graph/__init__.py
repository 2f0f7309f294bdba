"""Analysis and rewriting of FX graphs for quantization."""
