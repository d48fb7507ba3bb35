"""Volumes and image processing: geometry, intensity, resampling, registration. No patient, no study."""
