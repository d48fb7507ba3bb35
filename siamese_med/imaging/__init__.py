"""Volumes and what is computed of them: geometry, intensity, resampling, registration. No patient, no study."""
