"""The 44 items of CLAIM, update of 2024, each in short and in our words."""

from __future__ import annotations

from siamese_med.reporting.checklist.checklist_item import ChecklistItem as Item
from siamese_med.reporting.checklist.checklist_item import ChecklistTopic as Topic
from siamese_med.reporting.checklist.checklist_item import ReportingGuideline

TITLE, INTRODUCTION, DESIGN = "Title and abstract", "Introduction", "Methods: study design"
DATA, STANDARD, SPLIT = "Methods: data", "Methods: reference standard", "Methods: data partitions"
MODEL, TRAINING, EVALUATION = "Methods: model", "Methods: training", "Methods: evaluation"
RESULTS, DISCUSSION, OTHER = "Results", "Discussion", "Other information"

CLAIM_2024 = ReportingGuideline(
    "CLAIM, 2024 update",
    "Tejani AS, Klontzas ME, Gatti AA, et al. Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 "
    "Update. Radiol Artif Intell 2024;6(4):e240300. doi:10.1148/ryai.240300",
    (
        Item("1", TITLE, "Say that AI is used, and of which kind", (Topic.TECHNOLOGY,), "the title"),
        Item("2", TITLE, "Structured abstract", remains="the abstract, with the figures of items 35, 37 and 38"),
        Item("3", INTRODUCTION, "Background, and the intended role of the AI", (Topic.PURPOSE,), "the background"),
        Item("4", INTRODUCTION, "Aims and hypotheses", remains="the aims of your study"),
        Item("5", DESIGN, "Prospective or retrospective", remains="which of the two"),
        Item("6", DESIGN, "Goal of the study", remains="the goal, such as feasibility or testing a model"),
        Item("7", DATA, "Sources of the data", (Topic.SCANS,), "where the scans are from, with links to public sets"),
        Item("8", DATA, "Who and what was included", (Topic.FILES,), "clinical criteria, places and dates"),
        Item("9", DATA, "Preprocessing", (Topic.PREPROCESSING,), "what was done before siamese-med read the files"),
        Item("10", DATA, "Subsets of the data that were used", (Topic.FLOW,), "what you left out yourself, and why"),
        Item("11", DATA, "De-identification", (Topic.PRIVACY,), "text in the pixels, and the rules that you follow"),
        Item("12", DATA, "Missing data", (Topic.MISSING_DATA,), "clinical data that are missing"),
        Item("13", DATA, "How images were acquired", (Topic.ACQUISITION,), "sequences, makers and field strengths"),
        Item(
            "14",
            STANDARD,
            "Definition of the reference standard",
            (Topic.REFERENCE_STANDARD,),
            "how change, lesions or diagnosis were established, if you test against them",
        ),
        Item("15", STANDARD, "Why this reference standard", remains="the reasons"),
        Item("16", STANDARD, "Who annotated", remains="readers, experience and training, or that nobody annotated"),
        Item("17", STANDARD, "How test data were annotated", remains="procedure, software, and what readers saw"),
        Item("18", STANDARD, "Agreement of readers", remains="agreement, and how differences were settled"),
        Item("19", SPLIT, "How data were assigned to partitions", (Topic.PARTITIONS,)),
        Item("20", SPLIT, "At which level partitions are disjoint", (Topic.DISJOINTNESS,)),
        Item("21", SPLIT, "Intended sample size", (Topic.SAMPLE_SIZE,), "how the size was chosen before the study"),
        Item("22", MODEL, "Detailed description of the model", (Topic.ARCHITECTURE,)),
        Item("23", MODEL, "Software with versions", (Topic.SOFTWARE,), "the machine that trained, if it was another"),
        Item("24", MODEL, "Initial parameters", (Topic.INITIALISATION,)),
        Item("25", TRAINING, "Training, augmentation, hyperparameters", (Topic.TRAINING,)),
        Item("26", TRAINING, "How the final model was chosen", (Topic.SELECTION,), "models that you tried before"),
        Item("27", TRAINING, "Ensembles", (Topic.COMBINATION,)),
        Item("28", EVALUATION, "Measures of performance", (Topic.MEASURES,), "measures of your own question"),
        Item("29", EVALUATION, "Uncertainty and significance", (Topic.UNCERTAINTY,)),
        Item("30", EVALUATION, "Robustness", (Topic.ROBUSTNESS,), "further sensitivity analyses"),
        Item("31", EVALUATION, "Explainability", (Topic.MAPS,), "whether readers agreed with the maps"),
        Item("32", EVALUATION, "Testing on internal data", (Topic.INTERNAL_TEST,)),
        Item(
            "33", EVALUATION, "Testing on external data", (Topic.EXTERNAL_TEST,), "results on it, or why there are none"
        ),
        Item("34", EVALUATION, "Registration of a trial", remains="register and number, or that it is no trial"),
        Item("35", RESULTS, "Numbers included and excluded", (Topic.FILES, Topic.FLOW), "exclusions before the export"),
        Item(
            "36",
            RESULTS,
            "Characteristics of the patients in each partition",
            (Topic.PARTITIONS, Topic.ACQUISITION),
            "age, sex and diagnosis in each partition; siamese-med does not store them",
        ),
        Item(
            "37",
            RESULTS,
            "Performance",
            (Topic.INTERNAL_TEST, Topic.PERFORMANCE),
            "performance against your reference standard",
        ),
        Item("38", RESULTS, "Estimates with intervals", (Topic.ESTIMATES,), "your own estimates"),
        Item("39", RESULTS, "Analysis of failures", (Topic.ERRORS,), "wrong results that you looked at, with pictures"),
        Item("40", DISCUSSION, "Limitations", (Topic.LIMITS,), "limitations of your data and design"),
        Item("41", DISCUSSION, "Implications for practice", remains="what follows, and what stands in the way"),
        Item("42", OTHER, "Where the full protocol is", remains="the protocol, or that there is none"),
        Item("43", OTHER, "Availability of software, model, data", (Topic.AVAILABILITY,), "who can get model and data"),
        Item("44", OTHER, "Funding", remains="funders and their role"),
    ),
)
"""Item numbers and contents: the list in the publication."""
