"""The 52 items of TRIPOD+AI (2024), each in short and in our words."""

from __future__ import annotations

from siamese_med.reporting.checklist.checklist_item import ChecklistItem as Item
from siamese_med.reporting.checklist.checklist_item import ChecklistTopic as Topic
from siamese_med.reporting.checklist.checklist_item import ReportingGuideline

FIRST, METHODS, OPEN = "Title, abstract, introduction", "Methods", "Open science"
INVOLVEMENT, RESULTS, DISCUSSION = "Patient and public involvement", "Results", "Discussion"

TRIPOD_AI = ReportingGuideline(
    "TRIPOD+AI, 2024",
    "Collins GS, Moons KGM, Dhiman P, et al. TRIPOD+AI statement: updated guidance for reporting clinical prediction "
    "models that use regression or machine learning methods. BMJ 2024;385:e078378. doi:10.1136/bmj-2023-078378",
    (
        Item("1", FIRST, "Model, population and outcome in the title", (Topic.TECHNOLOGY,), "the title"),
        Item("2", FIRST, "Abstract by TRIPOD+AI for Abstracts", remains="the abstract"),
        Item("3a", FIRST, "Healthcare context and reasons", remains="the context, with references to other models"),
        Item("3b", FIRST, "Target population, purpose, users", (Topic.PURPOSE,), "population and users in your clinic"),
        Item("3c", FIRST, "Known health inequalities", remains="what is known of them"),
        Item("4", FIRST, "Objectives: development, evaluation or both", remains="the objectives"),
        Item("5a", METHODS, "Sources of the data", (Topic.SCANS,), "where the data are from, and how typical they are"),
        Item("5b", METHODS, "Dates of the data", remains="first and last dates; those in the study are shifted"),
        Item("6a", METHODS, "Setting and centres", remains="setting, number and places of the centres"),
        Item("6b", METHODS, "Who was eligible", (Topic.FILES,), "clinical criteria"),
        Item("6c", METHODS, "Treatments", remains="treatments between the scans"),
        Item(
            "7",
            METHODS,
            "Preprocessing and quality checks",
            (Topic.PREPROCESSING, Topic.FILES),
            "whether this was alike for all groups of people",
        ),
        Item("8a", METHODS, "Definition of the outcome", (Topic.REFERENCE_STANDARD,), "your outcome and its time"),
        Item("8b", METHODS, "Who assessed the outcome", remains="assessors and their experience, or that nobody did"),
        Item("8c", METHODS, "Blinding of the outcome", remains="what assessors knew"),
        Item("9a", METHODS, "Choice of the predictors", remains="why scans alone; siamese-med uses nothing else"),
        Item(
            "9b",
            METHODS,
            "Definition of the predictors",
            (Topic.ACQUISITION, Topic.PREPROCESSING),
            "when scans were made",
        ),
        Item("9c", METHODS, "Who assessed the predictors", remains="nobody, unless lesions were drawn by hand"),
        Item("10", METHODS, "Sample size", (Topic.SAMPLE_SIZE,), "how the size was chosen"),
        Item("11", METHODS, "Missing data", (Topic.MISSING_DATA,), "clinical data that are missing"),
        Item("12a", METHODS, "How the data were used and split", (Topic.PARTITIONS, Topic.DISJOINTNESS)),
        Item("12b", METHODS, "How predictors were handled", (Topic.PREPROCESSING,)),
        Item(
            "12c",
            METHODS,
            "Type of model, how it was built and tuned",
            (Topic.ARCHITECTURE, Topic.INITIALISATION, Topic.TRAINING, Topic.SELECTION, Topic.COMBINATION),
        ),
        Item("12d", METHODS, "Differences between clusters", (Topic.ROBUSTNESS,), "differences between centres"),
        Item("12e", METHODS, "Measures and plots", (Topic.MEASURES, Topic.UNCERTAINTY), "measures of clinical use"),
        Item(
            "12f", METHODS, "Updating of the model", (Topic.EXTERNAL_TEST,), "whether it was trained again on your data"
        ),
        Item("12g", METHODS, "How predictions were calculated", (Topic.SOFTWARE, Topic.OUTPUT)),
        Item("13", METHODS, "Class imbalance", (Topic.BALANCE,)),
        Item("14", METHODS, "Fairness", remains="what was done; siamese-med stores no age, sex or origin"),
        Item("15", METHODS, "Output and thresholds", (Topic.OUTPUT,)),
        Item(
            "16",
            METHODS,
            "Development against evaluation data",
            (Topic.EXTERNAL_TEST,),
            "how settings and patients differ",
        ),
        Item("17", METHODS, "Ethics approval and consent", remains="committee, number and consent"),
        Item("18a", OPEN, "Funding", remains="funders and their role"),
        Item("18b", OPEN, "Conflicts of interest", remains="of all authors"),
        Item("18c", OPEN, "Protocol", remains="where it is, or that there is none"),
        Item("18d", OPEN, "Registration", remains="register and number, or that there is none"),
        Item("18e", OPEN, "Data sharing", remains="who can get the data"),
        Item("18f", OPEN, "Code sharing", (Topic.AVAILABILITY, Topic.SOFTWARE), "code of your own"),
        Item("19", INVOLVEMENT, "Patients and the public", remains="how they were involved, or that they were not"),
        Item(
            "20a",
            RESULTS,
            "Flow of participants",
            (Topic.FILES, Topic.FLOW),
            "follow-up, and outcomes if you have them",
        ),
        Item(
            "20b",
            RESULTS,
            "Characteristics",
            (Topic.SCANS, Topic.ACQUISITION, Topic.MISSING_DATA),
            "age, sex, diagnosis, treatment; siamese-med does not store them",
        ),
        Item(
            "20c", RESULTS, "Comparison with the development data", (Topic.EXTERNAL_TEST,), "the distributions of both"
        ),
        Item("21", RESULTS, "Participants in each analysis", (Topic.PARTITIONS, Topic.SAMPLE_SIZE), "outcome events"),
        Item(
            "22",
            RESULTS,
            "The full model",
            (Topic.ARCHITECTURE, Topic.AVAILABILITY),
            "who may use it, and how to get it",
        ),
        Item(
            "23a",
            RESULTS,
            "Performance with intervals",
            (Topic.INTERNAL_TEST, Topic.ESTIMATES, Topic.PERFORMANCE),
            "groups of people",
        ),
        Item("23b", RESULTS, "Performance in clusters", (Topic.ROBUSTNESS,), "results by centre"),
        Item("24", RESULTS, "Results of updating", remains="results after training again, or that it was not done"),
        Item("25", DISCUSSION, "Interpretation", remains="what the results mean, fairness included"),
        Item("26", DISCUSSION, "Limitations", (Topic.LIMITS,), "limitations of your data and design"),
        Item("27a", DISCUSSION, "Poor or missing input", (Topic.FILES, Topic.ERRORS), "what your clinic would do then"),
        Item("27b", DISCUSSION, "What users do, and must know", (Topic.PURPOSE,), "who would use it in your clinic"),
        Item("27c", DISCUSSION, "Next steps", remains="what should be studied next"),
    ),
)
"""Item numbers and contents: the checklist of the publication (CC BY 4.0)."""
