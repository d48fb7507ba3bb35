"""What an input names and claims: folders, BIDS trees, manifests, and whose each file is."""
