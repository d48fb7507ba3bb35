"""Entry point of the command line: it starts the supervisor first, and then imports what takes time to import."""

from __future__ import annotations

from siamese_med.runtime.supervisor import run_under_supervisor


def main() -> None:
    """Run the command line under a supervisor, which ends it on SIGINT, SIGTERM and SIGHUP."""
    run_under_supervisor()
    from siamese_med.cli.main import main as command_line

    command_line()


if __name__ == "__main__":
    main()
