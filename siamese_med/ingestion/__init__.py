"""Ingest, the first stage: files of an export to scans in the catalogue, with an account of every file."""
