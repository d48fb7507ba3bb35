"""Runs that Prefect records. Importing this package sets Prefect's environment, so import it before Prefect itself."""

from __future__ import annotations

import os

from siamese_med.runtime.user_folders import locate_state_folder

PREFECT_ENVIRONMENT = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",  # the default 20 s is too short for the first migration
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_UI_API_URL": "/api",  # whatever the port, and whatever way led to the page
}
"""Defaults of environment variables that Prefect reads when it is imported; variables that are set already are kept."""

locate_state_folder()  # Prefect cannot be imported without a home folder; this says so in words
for _name, _value in PREFECT_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
