"""Plugin of networks that return more than logits, share weights or compute them."""
