"""Stage 5, scoring of pairs: similarity of identity, change and its map, and classical baselines of both."""
