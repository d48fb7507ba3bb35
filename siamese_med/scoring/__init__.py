"""Pairs to scores: similarity, change and its map, and the baselines beside them."""
