"""What an input names and states about its files: folders, BIDS datasets, manifests, and to whom each file belongs."""
