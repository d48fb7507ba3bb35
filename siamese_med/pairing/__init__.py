"""Scans to pairs; patients are split before a single pair is built."""
