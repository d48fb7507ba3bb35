"""Names and statements of an input about its files: folders, BIDS datasets, manifests, and the patient of each file."""
