"""The command line of a BIDS-App: `siamese-med-bids BIDS_DIR OUTPUT_DIR participant|group`.

BIDS-Apps (Gorgolewski et al. 2017, PLOS Comput Biol 13:e1005209) share these arguments, so that programs for clusters
can run any of them, one participant a job. Each participant is a study of its own here, in OUTPUT_DIR/sub-LABEL, so
that jobs share no catalogue. Nothing is trained, and Prefect records nothing.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from siamese_med.runtime.supervisor import run_under_supervisor

PARTICIPANT_COLUMN = "participant_id"
"""First column of the group tables; its values are the names of folders, `sub-01` say."""
GROUP_TABLES = {"group_participants.tsv": "reports/cohort.tsv", "group_pairs.tsv": "reports/sub-*/pairs.tsv"}
"""Tables of the group level, and what each is collected from below a participant's folder."""
VIEW_LOCK_FILE = ".view.lock"
"""Lock file in a participant's data folder, held while there is a view of the participant."""


def main() -> NoReturn:
    """Run the BIDS-App under a supervisor and end the process with the exit code of `siamese-med`."""
    run_under_supervisor()
    sys.exit(run_bids_app(sys.argv[1:]))


def run_bids_app(arguments: Sequence[str]) -> int:
    """Run one level of the BIDS-App.

    Parameters
    ----------
    arguments
        What follows the name of the command.

    Returns
    -------
    int
        Exit code as of `siamese-med`. Where participants end differently: 4.
    """
    given = _make_parser().parse_args(arguments)
    from siamese_med.cli import console_output

    console_output.configure_logging(quiet=False, debug=False)
    try:
        if given.analysis_level == "group":
            return write_group_tables(given.output_dir)
        places = (given.bids_dir, given.output_dir, given.model, given.config)
        codes = [run_participant(one, *places) for one in find_participants(given.bids_dir, given.participant_label)]
        return codes[0] if len(set(codes)) == 1 else 4
    except Exception as error:
        if given.debug:
            raise
        return _say(error)


def _say(error: Exception, name: str = "siamese-med-bids") -> int:
    from siamese_med.cli import console_output

    message, code, _ = console_output.explain_error(error)
    sys.stderr.write(f"{name}: {message}\n")
    return code


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="siamese-med-bids",
        description="Track change in the brain MRI scans of a BIDS data set. Research use only.",
    )
    parser.add_argument("bids_dir", type=Path, help="The BIDS data set; nothing in it is changed.")
    parser.add_argument("output_dir", type=Path, help="Folder for the results; each participant has a folder in it.")
    parser.add_argument(
        "analysis_level",
        choices=("participant", "group"),
        help="participant: compare the visits of each participant, and write a report; group: collect the tables.",
    )
    parser.add_argument(
        "--participant-label",
        "--participant_label",
        nargs="+",
        metavar="LABEL",
        help="Participants to process, with or without `sub-`; default: all.",
    )
    parser.add_argument("--model", type=Path, help="A model's folder; default: the starter model.")
    parser.add_argument("--config", type=Path, help="A TOML file over the defaults; see `siamese-med config`.")
    parser.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
    parser.add_argument("-v", "--version", action=_PrintVersion)
    return parser


class _PrintVersion(argparse.Action):
    """Print the version, which is looked up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="Show the version and exit.")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        import siamese_med

        sys.stdout.write(f"siamese-med {siamese_med.__version__}\n")
        parser.exit()


def find_participants(bids_dir: Path, labels: Sequence[str] | None) -> list[str]:
    """Return the names of participants' folders, sorted.

    Parameters
    ----------
    bids_dir
        The BIDS data set.
    labels
        The participants to take, with or without `sub-`; None: all.

    Raises
    ------
    MissingFileError
        If the data set has no participant, or lacks one of the labels.
    """
    from siamese_med.errors import MissingFileError

    there = sorted(path.name for path in bids_dir.glob("sub-*") if path.is_dir())
    if not there:
        raise MissingFileError("BIDS_DIR has no folder sub-...: give the top folder of a BIDS data set")
    if labels is None:
        return there
    wanted = {f"sub-{label.removeprefix('sub-')}" for label in labels}
    if missing := len(wanted - set(there)):
        raise MissingFileError(f"{missing} of {len(wanted)} labels of --participant-label have no folder in BIDS_DIR")
    return sorted(wanted)


def run_participant(name: str, bids_dir: Path, output_dir: Path, model: Path | None, config: Path | None) -> int:
    """Compare all visits of a participant, and write the reports to OUTPUT_DIR/sub-LABEL.

    Parameters
    ----------
    name
        Name of the participant's folder.
    bids_dir, output_dir
        The data set, and the folder of the results.
    model
        Folder of a model; None: the starter model.
    config
        TOML file over the default settings, or None.

    Returns
    -------
    int
        Exit code: 0, 4 where something was left undone, or 3 where the participant has no usable scan.

    Raises
    ------
    SiameseMedError
        If something fails that would fail for every participant.
    """
    from siamese_med.cli import run_request
    from siamese_med.errors import InputError
    from siamese_med.pipeline import stage_results

    own = output_dir.absolute() / name
    order = run_request.make_run_request(bids_dir.absolute(), own / "data", own / "reports", config, model)
    order = replace(order, model=run_request.choose_model(model, order.study))
    _describe_output(output_dir)
    with _view_of_participant(name, bids_dir.absolute(), output_dir.absolute()) as view:
        try:
            done = run_request.run_command("run", replace(order, source=view), config, no_prefect=True)
        except InputError as error:
            return _say(error, name)
    sys.stdout.write(f"{name}: {stage_results.summarise_run(done)['reports']}\n")
    return 4 if any(stage.unfinished for stage in done) else 0


@contextmanager
def _view_of_participant(name: str, bids_dir: Path, output_dir: Path) -> Iterator[Path]:
    """A folder of links to what a data set has of one participant, with its description, tables and derivatives.

    It has the same path in every call: the catalogue knows files by their paths, and would count them again otherwise.
    A second call for the same participant waits until the first has removed the folder.
    """
    from siamese_med.runtime.files import hold_exclusive_lock

    view = output_dir / f".{name}-view"  # beside the study's folders: what lies in them is no input
    with hold_exclusive_lock(output_dir / name / "data" / VIEW_LOCK_FILE):
        shutil.rmtree(view, ignore_errors=True)  # of a call that was killed
        try:
            view.mkdir()
            for path in bids_dir.iterdir():
                if path.is_file():
                    (view / path.name).symlink_to(path)
            (view / name).symlink_to(bids_dir / name)
            for derivative in bids_dir.glob("derivatives/*"):
                if (derivative / name).is_dir() and derivative.resolve() != output_dir.resolve():
                    (view / "derivatives" / derivative.name).mkdir(parents=True)
                    (view / "derivatives" / derivative.name / name).symlink_to(derivative / name)
            yield view
        finally:
            shutil.rmtree(view, ignore_errors=True)


def _describe_output(output_dir: Path) -> None:
    """Write `dataset_description.json`, in which BIDS records the program that made the results."""
    from siamese_med.runtime.files import write_json_file
    from siamese_med.study.bids import make_dataset_description

    write_json_file(output_dir / "dataset_description.json", make_dataset_description("siamese-med"))


def write_group_tables(output_dir: Path) -> int:
    """Collect the tables of all participants that were processed, as GROUP_TABLES says; returns the exit code.

    Raises
    ------
    EmptyInputError
        If no participant has a report.
    InputError
        If reports were written by different versions, with other columns; nothing is written then.
    """
    from siamese_med.runtime.files import write_text_file

    collected = {table: _collect_rows(output_dir, pattern) for table, pattern in GROUP_TABLES.items()}
    for table, (columns, rows) in collected.items():
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, (PARTICIPANT_COLUMN, *columns), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text_file(output_dir / table, buffer.getvalue())
        sys.stdout.write(f"{table}: {len(rows)} rows\n")
    return 0


def _collect_rows(output_dir: Path, pattern: str) -> tuple[Sequence[str], list[dict[str, str]]]:
    """The columns of a participant's table, and the rows of all participants, perhaps none."""
    from siamese_med.errors import EmptyInputError, InputError

    columns: Sequence[str] = ()
    rows: list[dict[str, str]] = []
    for folder in sorted(output_dir.glob("sub-*")):
        for path in sorted(folder.glob(pattern)):
            table = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), delimiter="\t")
            found = table.fieldnames or ()
            columns = columns or found
            if found != columns:
                raise InputError(
                    f"{path.name} of {folder.name} has other columns than those before, so another version wrote it: "
                    "run the level `participant` again for all"
                )
            rows += [{PARTICIPANT_COLUMN: folder.name, **row} for row in table]
    if not columns:
        raise EmptyInputError("OUTPUT_DIR has no report of a participant: run the level `participant` first")
    return columns, rows


if __name__ == "__main__":
    main()
