"""Pseudonyms, and the way back from them for holders of the secret."""
