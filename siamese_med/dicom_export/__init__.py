"""DICOM objects for the hospital's archive, filed under the study of the follow-up scan by its own headers."""
