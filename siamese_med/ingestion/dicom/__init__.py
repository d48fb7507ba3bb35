"""Reading DICOM: headers, geometry, series and pixels. Every value is treated as hostile input."""
