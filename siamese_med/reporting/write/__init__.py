"""Write the files of a report: pages, JSON, TSV and change maps."""
