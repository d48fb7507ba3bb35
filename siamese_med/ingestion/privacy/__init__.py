"""Pseudonyms, and the way back from them for those who hold the secret."""
