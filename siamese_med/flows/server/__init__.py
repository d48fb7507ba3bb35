"""The user's own Prefect server: deployments, running runs, and what is scheduled or requested."""
