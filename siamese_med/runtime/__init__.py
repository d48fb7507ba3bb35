"""Files, processes and progress: what every stage uses of the machine."""
