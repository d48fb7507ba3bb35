"""Writing the report's files: pages, JSON, TSV and change maps."""
