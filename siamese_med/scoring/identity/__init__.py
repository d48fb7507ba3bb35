"""Whether two scans are of one patient: calibration, baselines, evaluation, wrong-patient alarms."""
