"""What the README and the pages of docs/ say can be typed: parsed by the real parsers, and not run.

`tests/test_readme.py` runs the commands (`make test-long`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import reading_ease
from tests import documentation
from tests.commands import ROOT
from tests.documentation import PAGES, README, TASK_PAGES, Command

MAX_WORDS = 900
"""Of the README, as `wc -w` counts them."""
MAX_WORDS_A_SENTENCE = 20
"""On average, on the pages that are read first; `python -m benchmarks.reading_ease` prints it for every page."""


def of(page: Path) -> str:
    return str(page.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=of)


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").split()) <= MAX_WORDS


@pytest.mark.parametrize("page", TASK_PAGES, ids=of)
def test_sentences_are_short(page: Path) -> None:
    assert reading_ease.measure_mean_words(page) <= MAX_WORDS_A_SENTENCE


def test_every_page_of_the_documentation_is_there() -> None:
    assert [page for page in TASK_PAGES if page not in PAGES] == []


def test_every_command_is_documented() -> None:
    shown = {command.text.split()[1] for page in TASK_PAGES for command in documentation.commands(page)}
    assert documentation.command_names() - shown == set()


@every_page
def test_bash_can_read_every_block(page: Path) -> None:
    problems = [documentation.syntax_problem(block) for block in documentation.blocks(page, "console", "bash")]
    assert [text for text in problems if text] == []


@every_page
def test_every_command_would_be_taken(page: Path) -> None:
    wrong = {str(command): documentation.problem(command) for command in documentation.commands(page)}
    assert {text: why for text, why in wrong.items() if why} == {}


@every_page
def test_what_sentences_mention_exists(page: Path) -> None:
    checks = [documentation.mention_problem, documentation.setting_problem, documentation.path_problem]
    if page in TASK_PAGES:
        checks.append(documentation.option_problem)
    problems = [check(text) for text in documentation.mentions(page) for check in checks]
    assert [text for text in problems if text] == []


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(documentation.link_problems(page)) == []


@every_page
def test_every_toml_block_loads(page: Path, tmp_path: Path) -> None:
    problems = [documentation.toml_problem(block, tmp_path) for block in documentation.blocks(page, "toml")]
    assert [text for text in problems if text] == []


@every_page
def test_every_python_block_compiles_and_its_names_exist(page: Path) -> None:
    blocks = documentation.blocks(page, "python")
    assert [text for block in blocks for text in documentation.python_problems(block)] == []


@every_page
def test_every_block_is_of_a_language_that_is_checked(page: Path) -> None:
    languages = {language for language, _ in documentation.FENCED.findall(page.read_text(encoding="utf-8"))}
    assert languages <= {"console", "bash", "toml", "python"}


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("siamese-med run --data study", "Missing"),
        ("siamese-med run demo/input --modle m", "No such option"),
        ("siamese-med runn demo/input", "No such command"),
        ("siamese-med pair demo/input", "unexpected extra argument"),
        ("siamese-med serve a.toml --port http", "--port"),
        ("siamese-med compare $SCANS --model m", "Missing"),
        ("make demonstration", "no target"),
        ("python -m benchmarks.nosuch", "no module"),
        ("python -m benchmarks.one_pair --spcing 1", "no option"),
    ],
)
def test_a_command_that_would_be_refused_is_found(typed: str, words: str) -> None:
    command = Command(README, typed, ("SCANS=$(find study -name '*.nii.gz' | head -1)",))
    assert words in documentation.problem(command)


@pytest.mark.parametrize(
    "typed",
    [
        "siamese-med compare $SCANS --model $(ls -d models/* | head -1) --json",
        "siamese-med serve a.toml --systemd > ~/.config/unit",
        'siamese-med ingest "dicomwebs://pacs.example/dicom-web?PatientID=1&StudyDate=20240101" --sent export/',
        "siamese-med --version",
        "siamese-med run -h",
    ],
)
def test_a_command_that_would_be_taken_is_not_blamed(typed: str) -> None:
    command = Command(README, typed, ("SCANS=$(find study -name '*.nii.gz' | head -2)",))
    assert documentation.problem(command) == ""


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("import siamese_med\nsiamese_med.ingestt(1)", "has no ingestt"),
        ("import siamese_med\nsiamese_med.score('s', 'm', modell='m')", "modell"),
        ("from siamese_med import build_pairs\nbuild_pairs()", "missing a required argument"),
        ("from prefect.blocks.webhook import Webhooks", "has no Webhooks"),
    ],
)
def test_python_that_would_fail_is_found(block: str, words: str) -> None:
    assert words in " ".join(documentation.python_problems(block))


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("[train]\nepoch = 3", "train.epoch"),
        ('data = "d"\nreports = "r"\ninptu = "i"', "inptu"),
        ('data = "d"\nreports = "r"\n# also: viewr = true', "viewr"),
    ],
)
def test_toml_that_would_be_refused_is_found(block: str, words: str, tmp_path: Path) -> None:
    assert words in documentation.toml_problem(block, tmp_path)


def test_mentions_that_are_wrong_are_found(tmp_path: Path) -> None:
    assert documentation.mention_problem("siamese-med reveal") == ""
    assert documentation.mention_problem("siamese-med unveil") != ""
    assert documentation.setting_problem("score.spacing_mm") == ""
    assert documentation.setting_problem("score.spacing_cm") != ""
    assert documentation.option_problem("--viewer") == ""
    assert documentation.option_problem("--veiwer") != ""
    assert documentation.path_problem("tests/no_such_file.py") != ""
    assert documentation.path_problem("pairing/no_such_file.py") != ""
    assert documentation.path_problem("pairing/pair_table.py") == ""
    assert documentation.syntax_problem("$ siamese-med run 'demo") != ""
    (tmp_path / "page.md").write_text("# One\n[a](#one) [b](#two) [c](gone.md) [d](https://example.org)\n")
    assert len(list(documentation.link_problems(tmp_path / "page.md"))) == 2
