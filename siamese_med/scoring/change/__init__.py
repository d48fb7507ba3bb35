"""Change between two scans of one patient: registration, change map, noise floor, verdict."""
