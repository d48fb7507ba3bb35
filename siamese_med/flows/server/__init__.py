"""The workstation: a Prefect server of the user's own, which runs are at work, what is scheduled and asked for."""
