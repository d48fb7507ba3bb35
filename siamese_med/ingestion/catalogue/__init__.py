"""The catalogue of files and scans: its tables, the names of scans, and what is made from it."""
