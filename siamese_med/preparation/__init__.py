"""Scans to aligned volumes on one grid, computed once."""
