"""What somebody gets who installs without constraints.txt: versions that work, and a wheel with everything in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement

from siamese_med.imaging import volume
from siamese_med.network import model_folder
from siamese_med.network.starter_model import STARTER_FOLDER
from siamese_med.preparation.scan_placement import is_head_template
from tests.architecture.test_dependencies import EXTRAS_OF_PROJECT, INSTALLED, PINS, PROJECT, canonical
from tests.commands import ROOT

CORE = {canonical(one.name): one for one in map(Requirement, PROJECT["dependencies"])}
OF_EXTRAS = {canonical(one.name): one for one in INSTALLED if one.name != PROJECT["name"]}
IN_TESTS_ALONE = {canonical(Requirement(text).name) for text in EXTRAS_OF_PROJECT["test"]}
DIRECT = {**CORE, **{name: one for name, one in OF_EXTRAS.items() if name not in IN_TESTS_ALONE}}
PACKAGES = ("siamese_med",)
BROKEN = {
    "sqlalchemy": "2.1.9",  # the catalogue is not tested with it; Prefect 3.9.1 works
    "whenever": "0.10.5",  # Prefect 3.9.1 allows it, and makes no scheduled runs with it on Python 3.11 and 3.12
    "torch": "2.14.1",  # not tested, and several GB of CUDA
}


def test_every_dependency_is_bounded_on_both_sides() -> None:
    operators = {name: {part.operator for part in one.specifier} for name, one in DIRECT.items()}
    assert {name for name, found in operators.items() if found != {">=", "<"}} == set()


def test_what_is_pinned_lies_within_the_bounds() -> None:
    pins = dict(pin.split("==") for pin in PINS)
    assert {name for name, one in DIRECT.items() if not one.specifier.contains(pins[name])} == set()


@pytest.mark.parametrize(("name", "version"), BROKEN.items())
def test_a_version_that_is_known_not_to_work_is_out_of_bounds(name: str, version: str) -> None:
    assert not DIRECT[name].specifier.contains(version)


def test_the_wheel_holds_every_file_of_the_packages(tmp_path: Path) -> None:
    source = tmp_path / "source"
    without = shutil.ignore_patterns("__pycache__", "*.pyc")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=without)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copyfile(ROOT / name, source / name)
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    there = set(zipfile.ZipFile(wheel).namelist())
    wanted = {str(path.relative_to(source)) for package in PACKAGES for path in (source / package).rglob("*.*")}
    assert {name for name in wanted if (source / name).is_file()} - there == set()
    assert any(name.endswith("/NOTICE") for name in there)
    assert {name.split("/")[0] for name in there if not name.split("/")[0].endswith(".dist-info")} == set(PACKAGES)


def test_the_notice_credits_every_source_that_the_starter_model_may_be_learned_from() -> None:
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    sources = ("ds002748", "ds000011", "open_ms", "Lesjak", "brain_tumor_progression", "Schmainda", "SynthSeg")
    assert [source for source in sources if source not in notice] == []


def test_no_image_is_among_the_files_of_the_starter_model() -> None:
    names = {str(path.relative_to(STARTER_FOLDER)) for path in STARTER_FOLDER.rglob("*") if path.is_file()}
    bundle = {"configs/metadata.json", "configs/inference.json", "configs/train.json", "docs/README.md", "LICENSE"}
    assert names - bundle == {
        "README.md", "metrics.json", "model.json", "models/model.safetensors", "training_log.csv"
    }  # fmt: skip
    assert bundle <= names


def test_the_starter_models_template_is_that_of_heads_and_lies_in_no_model_folder() -> None:
    path = model_folder.find_checked_template(STARTER_FOLDER)
    assert not path.is_relative_to(STARTER_FOLDER)
    made, read = volume.read_volume(path), model_folder.load_model(STARTER_FOLDER).read_template()
    assert is_head_template(made)
    assert np.array_equal(made.voxels, read.voxels)
    assert np.array_equal(made.affine, read.affine)


def test_the_wheel_is_to_hold_the_starter_model() -> None:
    assert (
        "starter/**"
        in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["siamese_med"]
    )


def test_the_citation_names_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["cff-version"], cited["title"], cited["version"]) == ("1.2.0", PROJECT["name"], PROJECT["version"])
    assert {"message", "authors"} <= cited.keys()
    assert cited["license"] == PROJECT["license"]
