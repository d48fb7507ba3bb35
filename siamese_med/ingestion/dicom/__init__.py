"""DICOM from outside: headers, geometry, series and pixels. Every value is read as hostile input."""
