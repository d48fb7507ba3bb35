"""Simulated patients, scanners and visits, with known change. Everything made here is labelled simulated."""
