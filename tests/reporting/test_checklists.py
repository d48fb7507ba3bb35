"""Checklists for a publication: what is known stands in its item, and the rest is plainly left to the authors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from siamese_med.pipeline.checklist_facts import GUIDELINES, fill_in_checklist
from siamese_med.reporting.checklist import answered_checklist
from siamese_med.reporting.checklist.checklist_item import ChecklistItem, ChecklistTopic, ReportingGuideline
from siamese_med.reporting.checklist.model_facts import compose_model_facts
from siamese_med.reporting.checklist.study_facts import StudyTablesForChecklist, compose_study_facts
from siamese_med.study.tables import SIGNIFICANCE_ATTRIBUTE, IngestAccount, Study
from siamese_med.study.vocabulary import GuidelineName
from tests import trained
from tests.commands import ROOT, siamese_med
from tests.studies import Made

STARTER = ROOT / "siamese_med" / "starter"
CLAIM_ITEMS = " ".join(map(str, range(1, 45)))
TRIPOD_ITEMS = (
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 "
    "18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
)


def known_of(name: GuidelineName, model: Path, study: Study) -> dict[str, str]:
    """What is known in each item, by its number."""
    facts, _ = fill_in_checklist(name, model, study)
    items = facts["items"]
    assert isinstance(items, list)
    return {one["number"]: " ".join(one["known"]) for one in items}


def test_the_items_are_those_of_the_publications() -> None:
    numbers = {name: " ".join(item.number for item in guideline.items) for name, guideline in GUIDELINES.items()}
    assert numbers == {GuidelineName.CLAIM: CLAIM_ITEMS, GuidelineName.TRIPOD_AI: TRIPOD_ITEMS}


def test_every_topic_is_asked_for_by_both_guidelines_or_by_one() -> None:
    asked = {topic for guideline in GUIDELINES.values() for item in guideline.items for topic in item.topics}
    assert asked == set(ChecklistTopic)


@pytest.mark.parametrize("name", GuidelineName)
def test_an_item_without_facts_says_what_is_to_be_written(name: GuidelineName) -> None:
    for one in answered_checklist.answer_items(GUIDELINES[name], {}):
        assert one.state == "to_write"
        assert one.to_write, one.item


def test_the_figures_of_a_model_stand_in_their_items() -> None:
    facts = compose_model_facts(trained.model_info(), trained.model_metrics("network"), starter=False)
    told = {topic: " ".join(texts) for topic, texts in facts.items()}
    assert "seed 5" in told[ChecklistTopic.PARTITIONS]
    assert "seed 3" in told[ChecklistTopic.INITIALISATION]
    assert "epochs 14" in told[ChecklistTopic.TRAINING]
    assert "0.583" in told[ChecklistTopic.OUTPUT]
    assert "torch 2.13.0" in told[ChecklistTopic.SOFTWARE]
    assert re.search(r"Siamese network: AUC 0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)", told[ChecklistTopic.ESTIMATES])
    assert "A record, not a result" not in told[ChecklistTopic.ESTIMATES]


def test_the_significance_is_that_of_the_verdicts_of_the_study() -> None:
    info, metrics = trained.model_info(), trained.model_metrics("network")
    told = [" ".join(compose_model_facts(info, metrics, False, limit)["uncertainty"]) for limit in (None, 0.001)]
    assert [text.count(f"p below {limit} ") for text, limit in zip(told, ("0.05", "0.001"), strict=True)] == [1, 1]


def test_withheld_figures_are_marked_as_a_record() -> None:
    facts = compose_model_facts(trained.model_info(), trained.model_metrics("network", ("histogram",)), starter=False)
    assert all(text.startswith("A record, not a result: ") for text in facts[ChecklistTopic.ESTIMATES])


def test_a_study_is_counted() -> None:
    scans = pd.DataFrame(
        {
            "subject": ["sub-a", "sub-a", "sub-b"],
            "session": ["ses-1", "ses-2", "ses-1"],
            "modality": "MR",
            "contrast": ["FLAIR", "FLAIR", "unknown"],
            "scanner": ["scanner-1", "scanner-2", "unknown"],
            "protocol": "protocol-1",
            "spacing_mm": [[1.0, 1.0, 3.0], [1.0, 1.0, 1.0], [0.5, 1.0, 1.0]],
            "flags": [[], ["date_unknown"], []],
            "sha256": ["1a" * 32, "4d" * 32, "5e" * 32],
        }
    )
    scores = pd.DataFrame(
        {
            "kind": ["follow_up", "follow_up", "different"],
            "verdict": ["changed", None, None],
            "reasons": [[], ["little_overlap"], ["little_overlap"]],
            "smallest_detectable_ml": [0.5, None, None],
        }
    )
    account = IngestAccount(9, 6, 1, 1, 1, {"localizer": 1})
    facts = compose_study_facts(
        StudyTablesForChecklist(scans, account, scores, defaced=True, learned_from=frozenset({"1a" * 32}))
    )
    told = {topic: " ".join(texts) for topic, texts in facts.items()}
    assert told[ChecklistTopic.SCANS] == "The study: 2 patients, 3 visits, 3 scans (MR 3)."
    assert "Of 9 files 6 were ingested, 1 skipped, 1 duplicates, 1 refused; reasons: localizer 1." in told["files"]
    assert "Scanners told apart by the headers: 2; protocols: 1. Voxel edges 0.5 to 3 mm." in told["acquisition"]
    assert "without a date: 1; of unknown contrast: 1; of an unknown scanner: 1." in told["missing_data"]
    assert "2 pairs of one patient: changed 1 and not comparable 1." in told["flow"]
    assert "share too little of the body (1 pairs)" in told["flow"]
    assert "0.50 ml" in told[ChecklistTopic.PERFORMANCE]
    assert told[ChecklistTopic.EXTERNAL_TEST] == "Of the 3 scans of the study the model has learned from 1."
    assert "Faces were removed" in told[ChecklistTopic.PRIVACY]


def test_without_a_study_the_model_alone_is_described(tmp_path: Path) -> None:
    study = Study(tmp_path / "data", tmp_path / "reports")
    facts, text = fill_in_checklist(GuidelineName.CLAIM, STARTER, study)
    known = known_of(GuidelineName.CLAIM, STARTER, study)
    assert facts["study_read"] is False
    assert known["7"] == ""
    assert "public data that the starter model learned from" in known["19"]
    assert "A record, not a result" in known["38"]
    assert "**7. Sources of the data**\n\n- *For you to write:* where the scans are from" in text
    assert not (tmp_path / "data").exists()


def test_signs_that_markdown_would_obey_are_shown() -> None:
    topic = ChecklistTopic.SOFTWARE
    guideline = ReportingGuideline("G", "S", (ChecklistItem("1", "Methods", "Software", (topic,)),))
    hostile = "<script>x</script> [a](javascript:b) \x1b[2J\n# heading"
    text = answered_checklist.format_checklist(
        guideline, answered_checklist.answer_items(guideline, {topic: [hostile]}), "<b>"
    )
    shown = text.splitlines()[-1]
    assert shown.startswith("- \\<script\\>x\\</script\\> \\[a\\](javascript:b) \\x1b\\[2J # heading")
    assert "model \\<b\\>" in text


def test_the_significance_is_read_from_the_score_table(made_study: Made, tmp_path: Path) -> None:
    made_study.copy(tmp_path)
    study = Study(tmp_path / "data", tmp_path / "reports")
    table = study.scores(made_study.model.name)
    scores = pd.read_parquet(table)
    scores.attrs[SIGNIFICANCE_ATTRIBUTE] = 0.002
    scores.to_parquet(table)
    assert "p below 0.002 " in known_of(GuidelineName.CLAIM, made_study.model, study)["29"]


def test_the_command_fills_in_a_study_and_names_nobody(made_study: Made, tmp_path: Path) -> None:
    folders = ["--data", made_study.whole / "data", "--reports", made_study.whole / "reports"]
    said = siamese_med("checklist", "claim", *folders, "--json", "--output", "claim.md", cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    answer = json.loads(said.stdout)
    text = (tmp_path / "claim.md").read_text(encoding="utf-8")
    assert answer["filled"] + answer["in_part"] + answer["to_write"] == 44 == len(answer["items"])
    known = {one["number"]: " ".join(one["known"]) for one in answer["items"]}
    assert "8 patients, 16 visits, 16 scans" in known["7"]
    assert "pairs of one patient" in known["35"]
    assert answer["model"] in text
    assert "sub-" not in text + said.stdout
    assert all(one["to_write"] is None or one["to_write"] in text for one in answer["items"])
