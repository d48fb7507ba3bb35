"""The recorded runs, one thin file a flow. Importing this package settles how Prefect starts; Prefect comes later."""

from __future__ import annotations

import os

SETTINGS = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",  # the default 20 s is too short for the first migration
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_UI_API_URL": "/api",  # whatever the port, and whatever way led to the page
}

for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)
