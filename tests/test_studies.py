"""The shared study is what the present code makes, and what somebody wrote into it is noticed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests import studies
from tests.commands import ROOT
from tests.studies import Made


def state_of(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> str:
    """The key that code of these files would have."""
    with monkeypatch.context() as patch:
        patch.setattr(studies, "_code", lambda: files)
        patch.setattr(studies, "ROOT", Path("/"))
        return studies.state_of_the_code.__wrapped__()


def test_the_key_follows_the_code_and_the_templates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code = studies._code()
    assert {"volume.py", "base.html.j2", "flows.py"} <= {path.name for path in code}
    for path in code:  # elsewhere, so that one can be changed
        (tmp_path / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    copied = [tmp_path / path.relative_to(ROOT) for path in code]
    before = state_of(copied, monkeypatch)
    assert state_of(copied, monkeypatch) == before
    copied[-1].write_bytes(copied[-1].read_bytes() + b" ")
    after = state_of(copied, monkeypatch)
    assert after != before
    assert state_of(copied[1:], monkeypatch) not in (before, after)


@pytest.mark.parametrize("harm", ["changed", "removed", "added"])
def test_what_a_test_wrote_into_it_is_noticed(made_study: Made, tmp_path: Path, harm: str) -> None:
    copied = Made(made_study.copy(tmp_path / "whole").parent)
    copied.complete.write_text(copied.marks())
    assert studies.untouched(copied)
    (model,) = tmp_path.glob("whole/data/models/*/model.json")
    if harm == "changed":
        os.utime(model, ns=(0, 0))
    elif harm == "removed":
        model.unlink()
    else:
        (model.parent / "new").touch()
    assert not studies.untouched(copied)
