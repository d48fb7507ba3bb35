"""`python -m siamese_med.cli`: what systemd units call that were printed before `python -m siamese_med` was there."""

from __future__ import annotations

from siamese_med.cli.main import main

if __name__ == "__main__":
    main()
