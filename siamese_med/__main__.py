"""Where the command starts: its supervisor first, then everything that takes time to import."""

from __future__ import annotations

from siamese_med.supervisor import supervise


def main() -> None:
    """Run the command line below a supervisor."""
    supervise()
    from siamese_med.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
