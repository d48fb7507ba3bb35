"""The two recipes of a container install the same, run a command that the package has, and are not run as root."""

from __future__ import annotations

import re
import tomllib

from tests.commands import ROOT

DOCKERFILE = (ROOT / "containers" / "Dockerfile").read_text(encoding="utf-8")
APPTAINER = (ROOT / "containers" / "siamese-med.def").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def find_once(pattern: str, text: str) -> str:
    (found,) = re.findall(pattern, text, re.MULTILINE)
    return str(found)


def test_both_install_the_same_packages_on_the_same_base() -> None:
    for pattern in (r"--no-install-recommends (.*?) ?\\?$", r"pip install (.*)$", r"(?:BASE=|From: )(\S+)$"):
        assert find_once(pattern, DOCKERFILE) == find_once(pattern, APPTAINER), pattern


def test_the_command_and_the_extra_are_those_of_the_package() -> None:
    assert find_once(r'^ENTRYPOINT \["([\w-]+)"\]$', DOCKERFILE) in PROJECT["scripts"]
    assert find_once(r"^    exec ([\w-]+) ", APPTAINER) in PROJECT["scripts"]
    assert find_once(r"siamese-med\[(\w+)\]", DOCKERFILE) in PROJECT["optional-dependencies"]


def test_the_user_is_not_root_and_has_a_name_for_torch() -> None:
    assert int(find_once(r"^USER (\d+):\d+$", DOCKERFILE)) > 0
    assert find_once(r"^    USER=(\S+) \\$", DOCKERFILE)
