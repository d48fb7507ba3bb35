"""The catalogue of files and scans: its tables, the names of scans, and what is derived from it."""
