"""Simulation of patients, scanners and follow-up scans with known change, for the demo, tests and training."""
