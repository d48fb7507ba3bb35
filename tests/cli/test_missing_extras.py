"""An installation without extras: the core works, and each missing extra is named in one line with its command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import siamese_med as library
from siamese_med.errors import MissingExtraError
from siamese_med.flows.server import deployments
from siamese_med.runtime.extras import EXTRAS
from siamese_med.study.tables import ReportExtras
from tests.architecture.test_dependencies import EXTRAS_OF_PROJECT
from tests.commands import ROOT, siamese_med, write_nifti

DATABASE = 'ingest.database = "postgresql+pg8000://localhost/catalogue"\n'
CLUSTER = 'run.dask = "tcp://127.0.0.1:1"\n'
SETTINGS = {"dask": CLUSTER, "postgresql": DATABASE}
COMMANDS = {
    "dask": ["ingest", "input"],
    "dicom": ["report", "--dicom", "objects", "--input", "input", "--no-prefect"],
    "pacs": ["ingest", "dicomweb://127.0.0.1:1/dicom-web?PatientID=DOE"],
    "pdf": ["report", "--pdf"],
    "postgresql": ["ingest", "input"],
    "prefect": ["serve", "study.toml"],
}
"""A command that needs each extra."""
NOT_IN_THE_CORE = sorted({package for extra in EXTRAS.values() for package in extra.packages} - {"requests"})
"""Packages that come with extras alone; requests comes with nilearn too."""
NEED_AN_EXTRA = ("siamese_med.flows", "siamese_med.ingestion.pacs")
"""Packages of siamese-med that import one when they are imported themselves."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an input of one scan, and a study file."""
    write_nifti(tmp_path / "input" / "sub-01" / "ses-1" / "anat" / "sub-01_ses-1_T1w.nii.gz")
    (tmp_path / "study.toml").write_text('input = "input"\ndata = "data"\nreports = "reports"\n')
    return tmp_path


def block(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let Python find none of these packages, nor import them."""
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.parametrize(
    ("extra", "package"), [(name, package) for name, extra in EXTRAS.items() for package in extra.packages]
)
def test_a_missing_extra_is_one_line_with_the_command_that_installs_it(
    extra: str, package: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block(monkeypatch, package)
    config = folder / "config.toml"
    config.write_text(SETTINGS.get(extra, ""))
    options = ["--config", config] if extra in SETTINGS else []
    result = siamese_med(*COMMANDS[extra], *options, "--json", cwd=folder)
    wanted = f"{EXTRAS[extra].purpose} needs a package that is not installed: pip install 'siamese-med[{extra}]'"
    assert (result.returncode, result.stderr) == (2, f"siamese-med: {wanted}\n")
    assert json.loads(result.stdout) == {"error": wanted, "exit_code": 2}
    assert not (folder / "data").exists()


def test_without_prefect_a_run_is_done_and_one_line_says_that_it_is_not_recorded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block(monkeypatch, "prefect", "prefect_dask")
    done = siamese_med("ingest", "input", "--json", cwd=folder)
    assert json.loads(done.stdout)["ingested"] == 1
    assert (
        done.stderr.splitlines()[0] == "without Prefect, this run is not recorded: pip install 'siamese-med[prefect]'"
    )
    asked = siamese_med("ingest", "input", "--json", "--no-prefect", cwd=folder)
    assert (asked.returncode, "Prefect" in asked.stderr) == (0, False)


def test_without_prefect_status_shows_the_study_and_no_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block(monkeypatch, "prefect")
    shown = json.loads(siamese_med("status", "--json", cwd=folder).stdout)
    assert (shown["server"], shown["runs"], shown["scheduled"]) == (None, [], [])
    assert siamese_med("trigger", "nightly", cwd=folder).returncode == 2


def test_the_library_says_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block(monkeypatch, "dicomweb_client", "weasyprint", "highdicom")
    study = library.Study(folder / "data", folder / "reports")
    with pytest.raises(MissingExtraError, match=r"siamese-med\[pacs\]"):
        library.ingest(library.Pull("dicomweb://127.0.0.1:1/dicom-web"), study)
    for extras, name in ((ReportExtras(pdf=True), "pdf"), (ReportExtras(dicom=folder / "objects"), "dicom")):
        with pytest.raises(MissingExtraError, match=rf"siamese-med\[{name}\]"):
            library.report(study, folder / "model", extras, folder / "input")


@pytest.mark.parametrize(
    ("line", "package"),
    [("pdf = true\n", "weasyprint"), ('dicom = "objects"\n', "highdicom"), ('config = "config.toml"\n', "pg8000")],
)
def test_a_study_that_needs_a_missing_extra_is_refused_before_it_is_served(
    line: str, package: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "config.toml").write_text(DATABASE)
    file = folder / "study.toml"
    file.write_text(file.read_text() + line)
    deployments.check_study_files([file])
    block(monkeypatch, package)
    with pytest.raises(MissingExtraError, match="pip install"):
        deployments.check_study_files([file])


@pytest.mark.long
def test_every_module_of_the_core_can_be_imported_without_any_extra() -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / "siamese_med").rglob("*.py"))
    ]
    core = [name for name in names if not name.startswith(NEED_AN_EXTRA) and not name.endswith("__main__")]
    code = (
        "import importlib, logging, sys\n"
        "logging.getLogger('matplotlib.font_manager').setLevel(logging.ERROR)\n"  # on a slow machine it says so
        f"for name in {NOT_IN_THE_CORE!r}: sys.modules[name] = None\n"
        f"for name in {core!r}: importlib.import_module(name)\nprint(len({core!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout.strip()) == ("", str(len(core)))


def test_the_extras_are_those_of_pyproject() -> None:
    assert set(EXTRAS_OF_PROJECT) - {"all", "bench", "bundle", "docs", "test"} == set(EXTRAS)
    (everything,) = map(Requirement, EXTRAS_OF_PROJECT["all"])
    assert (everything.name, everything.extras) == ("siamese-med", set(EXTRAS))
    for name, extra in EXTRAS.items():
        installed = {part for text in EXTRAS_OF_PROJECT[name] for part in installed_by(Requirement(text))}
        assert {re.sub("_", "-", package) for package in extra.packages} <= installed


def test_the_documentation_lists_every_extra_with_its_packages() -> None:
    page = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]*)\|$", page, re.MULTILINE))
    assert set(rows) == {*EXTRAS, "all"}
    for name in EXTRAS:
        own = [Requirement(text).name for text in EXTRAS_OF_PROJECT[name] if Requirement(text).name != "siamese-med"]
        assert sorted(rows[name].strip().split(", ")) == sorted(own)


def installed_by(requirement: Requirement) -> set[str]:
    """The names of what a requirement installs, itself and what other extras of ours bring."""
    if requirement.name != "siamese-med":
        return {requirement.name}
    return {
        name
        for extra in requirement.extras
        for text in EXTRAS_OF_PROJECT[extra]
        for name in installed_by(Requirement(text))
    }
