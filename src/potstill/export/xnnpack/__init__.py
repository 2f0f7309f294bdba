"""Graph rewrites for the XNNPACK delegate."""
