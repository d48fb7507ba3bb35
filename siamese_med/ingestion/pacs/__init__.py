"""Pulling studies from a PACS over DICOMweb, and checking that everything arrived."""
