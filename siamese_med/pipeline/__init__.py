"""The six stages in a row, what their results mean, and questions about single scans. Nothing here knows Prefect."""
