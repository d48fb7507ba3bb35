"""The lesions of a patient over all dates: each has a number, a volume at every date, and a fate."""
