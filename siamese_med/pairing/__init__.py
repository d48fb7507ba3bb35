"""Pairs of scans. Patients are split into training, validation and test before any pair is built."""
