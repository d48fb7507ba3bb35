"""What goes back to the hospital's archive: DICOM objects filed under the follow-up's study, by its own headers."""
