"""The six stages in a line, what their results mean, and questions about single scans. Knows no Prefect."""
