"""`python -m siamese_med.cli`: kept for systemd units of earlier versions; new ones call `python -m siamese_med`."""

from __future__ import annotations

from siamese_med.cli.main import main

if __name__ == "__main__":
    main()
