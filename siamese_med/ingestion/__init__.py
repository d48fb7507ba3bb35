"""Ingest, the first stage: files of an export become scans in the catalogue, with an account of every file."""
