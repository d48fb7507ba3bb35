"""Scores to pages: HTML, JSON and TSV from what the score and train stages left; needs no scan and no network."""
