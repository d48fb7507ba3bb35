"""Data that the stages hand to one another: configuration, tables, scans, and where everything lies on disk."""
