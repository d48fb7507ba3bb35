"""Data to HTML, pictures and PDF."""
