"""The systemd user unit that starts `serve` again after a restart of the machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from siamese_med.flows import PREFECT_ENVIRONMENT

KEPT_VARIABLE_PREFIXES = ("PREFECT_", "SIAMESE_MED_", "XDG_")
"""Environment variables that decide where files are. The unit sets those that are set now, except credentials."""
SECRET_VARIABLE_WORDS = ("PASSWORD", "TOKEN", "KEY", "AUTH", "CONNECTION_URL", "USER")
"""Words in the names of variables that may hold credentials; the unit never contains them."""

UNIT_TEMPLATE = """\
# Save as ~/.config/systemd/user/siamese-med.service, then
#   systemctl --user daemon-reload && systemctl --user enable --now siamese-med
#   loginctl enable-linger   # also while nobody is logged in
[Unit]
Description=siamese-med: scheduled runs

[Service]
ExecStart={command}
WorkingDirectory={folder}
{environment}Restart=on-failure
RestartSec=30
KillMode=mixed
SuccessExitStatus=129 130 143
TimeoutStopSec=60

[Install]
WantedBy=default.target
"""


def render_systemd_unit(files: Sequence[Path], port: int) -> str:
    """Render the unit for some studies.

    Parameters
    ----------
    files
        Study files.
    port
        Port of the server.

    Returns
    -------
    str
        Text of the unit file; see systemd.service(5).
    """
    words = [sys.executable, "-m", "siamese_med", "serve", *map(str, (f.absolute() for f in files))]
    kept = {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(KEPT_VARIABLE_PREFIXES)
        and name not in PREFECT_ENVIRONMENT
        and not any(word in name for word in SECRET_VARIABLE_WORDS)
    }
    return UNIT_TEMPLATE.format(
        command=" ".join(map(_quoted, [*words, "--port", str(port)])),
        folder=str(Path.cwd()).replace("%", "%%"),
        environment="".join(f"Environment={_quoted(f'{name}={value}')}\n" for name, value in kept.items()),
    )


def _quoted(word: str) -> str:
    """Quote as systemd.syntax(7) and systemd.service(5) require."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if set(word) & set(" \t\"'\\;") else escaped
