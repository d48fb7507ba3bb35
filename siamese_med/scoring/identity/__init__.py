"""Whether two scans show one patient: calibration, classical baselines, evaluation, wrong-patient alarms."""
