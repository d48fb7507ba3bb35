"""Words that say whether a contrast agent was given before an image: in descriptions, names and header fields.

They are of English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Turkish and the Nordic languages.
"""

from __future__ import annotations

import re
import unicodedata

AGENT = (
    r"ce|gd|gad|gado\w*|gadavist|dota(?:rem)?|magnevist|omniscan|multihance|prohance|clariscan|vueway|elucirem|"
    r"artirem|(?:iv)?km|mdc|contrast(?:[eo]s?|ed)?|kontras(?:t|ci)(?:[a-z]*(?<!s[iu]z))"
)
"""A contrast agent in names and descriptions; `km` is German, `mdc` Italian. Part of regular expressions."""

GIVEN = rf"{AGENT}|civ|inj(?:e[ck]t\w*)?|iniezione|inyec\w*|enhance(?:d|ment)"
"""An agent, or that it was given; without one of LACKING before it."""

START, END = r"(?<![a-z0-9])", r"(?![a-z0-9])"

LACKING = (
    r"pre|prae?|non?|without|w ?[./\\]? ?o(?:ut|\.)?|s ?/|ohne|vor|sans|sin|sem|senza|before|avant|minus|zonder|bez|"
    r"utan|uten|uden|ilman"
)
"""Words for `without` and `before` that say so of an agent also where they stand alone."""

LACKING_BEFORE_AGENT = rf"{LACKING}|not|nicht|niet|prior(?: to)?|antes|prima|przed|voor|foer"
"""The same, with words that say so only where an agent is named after them."""

FILLERS = r"(?:(?:iv|i\.v\.?|the|any|de[li]?|della|dell|di|du|d|medio|mezzo|produit|intraven\w*|use|of|zu)[ '-]+)*"
"""Words between those and the agent: `without IV contrast`, `prima del mdc`."""

NOT_OF_AGENT = (
    r"(?! ?-?(?:fs|fat|fett\w*|sat|sup\w*|gap|mtc?|sense|grappa|motion|op|surg|treat|therap|rt|radi|chemo|resec|biops|"
    r"implant|sedat|filter|norm)\w*)"
)
"""What follows a lone `without` or `pre` that is of something else: `no fat sat`, `pre op`."""

PLAIN_PATTERN = re.compile(
    rf"{START}(?:{LACKING_BEFORE_AGENT})(?:[ .-]*{FILLERS}(?:{GIVEN})|[ .-]+c|(?<=/)c){END}"
    rf"|{START}(?:{LACKING}){END}{NOT_OF_AGENT}"
    rf"|{START}ce-(?:no(?:ne)?|pre|without|plain){END}"
    rf"|{START}(?:{AGENT})[ :(=-]*(?:neg\w*|free|frei|nein|nicht|none|off|nil|oncesi|(?:no|non|nee)$){END}"
    rf"|{START}(?:gd|gad|c|km|ce|contrast)-(?=[ ),]|$)|(?<=[ (])-(?:gd|gad|c|km|ce|k){END}"
    rf"|{START}(?:un|non?|pre)(?:contrast|con|gad\w*|gd|km|ce|enhanced){END}"
    rf"|{START}(?:nativ|natyw)|{START}(?:plain|blan[ck]o|kontrasts[iu]z){END}|{START}t1w?(?:pre|n){END}",
)
"""Words that say that no contrast agent was given yet, with the name of the agent beside them."""

_BEFORE = rf"(?:{LACKING}|antes|prima|przed|voor|nativ\w*)"
_AFTER = rf"(?:post?|with|w|mit|avec|nach|apres|after|con|com|met|z|dopo|despues|depois|po|c ?/|sonrasi|{AGENT})"
_AND = r"(?: *[&+/,] *| +(?:and|und|et|y|e|en|i|u\.?|ve) +)"
BOTH_PATTERN = re.compile(
    rf"{START}(?:{_BEFORE}(?: c)?{_AND}{_AFTER}|{_AFTER}(?: c)?{_AND}{_BEFORE})(?:[ .-]*{FILLERS}(?:{GIVEN}|c))?{END}"
    rf"|{START}(?:w wo|wo w|wwo){END}(?: *(?:{AGENT}){END})?|(?:\+ ?/ ?-|±)(?: *(?:{GIVEN}|c){END})?"
)
"""Names of series or examinations with images before and after an agent, which say nothing of one image."""

BRIGHTNESS_PATTERN = re.compile(
    rf"{START}(?:high|hi|low|soft|tissue|phase|image|matter|hoher|alto|haut|optimal|better)[ -]*[ck]ontrast[eo]?{END}"
    rf"|{START}contrast[ -]*(?:optimi|ratio|resol|prep|adjust)\w*"
    rf"|{START}(?:edge|image|resolution|speed|ai|deep)[ -]*enhanced{END}"
    rf"|{START}enhanced[ -]*(?:fast|grad|resol|speed|sens|image|mr{END})\w*|{START}e?fgre(?:3d)?[ -]*enhanced{END}"
)
"""`contrast` and `enhanced` of something else than an agent."""

AGENT_PATTERN = re.compile(
    rf"{START}(?:{GIVEN}|(?:nach|post|mit|with|plus)[ -]?(?:{AGENT}|c)|c\+|w ?/ ?c(?:on)?|w con|c ?/ ?c(?:iv)?){END}"
    rf"|{START}t1(?:wi?|[ -]?weighted)?(?:c|{AGENT}|[ -]*\+){END}|{START}ct1{END}"
    rf"|{START}t1w? c(?=$| (?:fs|ax|sag|cor|tra|iso|3d|\d))"
    rf"|\+[ -]?(?:{AGENT}|c|k|g){END}|{START}(?:w/|with)$"
)
"""Words that say that a contrast agent was given."""

AFTER_EVENT = (
    r"[ .-]*(?:op|surg|treat|therap|rt|radi|chemo|quimio|cir|quir|ictal|mortem|proc|trauma|partum|resec|biops|stroke|"
    r"infarct|tpa|tmz|ect|dbs|tms|shunt|clip|stent|embol|covid|vacc|tra[ut]|disp|"
    r"evd|drain|cran|thromb|lys|fall|burr|evac|seiz|exer)"
)
POST_PATTERN = re.compile(rf"(?:(?<![a-z])|(?<=t1w))post(?![a-z0-9]|{AFTER_EVENT})")
"""`post` for after contrast, and not after an operation, an event or a treatment."""

WEIGHTING_PATTERN = re.compile(r"t1|mp[ -]?rage|spgr|bravo|vibe|tfl|mpr|tfe")
"""Names of a T1 weighting."""

LATE_PATTERN = re.compile(rf"{START}pos(?![a-z0-9]|{AFTER_EVENT})")
"""`pos`, Portuguese and Spanish for after contrast behind the weighting."""

SHORT_PATTERN = re.compile(rf"{START}pc{END}")
"""`pc`, for post contrast behind the weighting in a description."""

NO_AGENT_WORDS = frozenset((
    "no", "none", "non", "not", "n", "nil", "0", "0.0", "0.00", "na", "a", "without", "wo", "ohne", "keine", "kein",
    "nein", "sans", "sin", "senza", "unknown", "unenhanced", "plain", "nativ", "native", "false", "null",
    "zonder", "used",
))  # fmt: skip
"""Words in a header's field for the contrast agent where none was given."""

AGENT_FILLERS = frozenset((
    "contrast", "agent", "km", "mdc", "iv", "gad", "gd", "gadolinium", "kontrast", "kontrastmittel", "contraste", "ml",
    "bolus", "given", "enhanced", "administered", "media", "medium",
))  # fmt: skip
"""Words beside those that say no more."""


LETTERS = str.maketrans({ord("ł"): "l", ord("ı"): "i", ord("ø"): "oe"})
"""Letters that are no letter with an accent."""


def _fold(text: str) -> str:
    """Return a text in lower case, without accents, with spaces for underscores and between `nachKM`."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text.replace("_", " "))
    bare = "".join(one for one in unicodedata.normalize("NFKD", parted) if not unicodedata.combining(one))
    return bare.lower().translate(LETTERS).strip()


def _drop_neutral(text: str) -> str:
    return BOTH_PATTERN.sub(" ", BRIGHTNESS_PATTERN.sub(" ", _fold(text)))


def tells_agent(text: str, after_t1: bool) -> bool:
    """Tell whether a text names a contrast agent that was given.

    Parameters
    ----------
    text
        A description, or a file name.
    after_t1
        Whether it is a name: then a bare `post` counts only behind the weighting, and `pc` not at all.

    Examples
    --------
    >>> [tells_agent(one, False) for one in ("T1 +C", "T1 without KM", "T1 with and without contrast")]
    [True, False, False]
    >>> [tells_agent(one, False) for one in ("T1 HIGH CONTRAST", "T1 nachKM", "T1 sans injection", "T1 PC")]
    [False, True, False, True]
    """
    rest = PLAIN_PATTERN.sub(" ", _drop_neutral(text))
    if AGENT_PATTERN.search(rest):
        return True
    weighting = WEIGHTING_PATTERN.search(rest)
    late = (LATE_PATTERN,) if after_t1 else (LATE_PATTERN, SHORT_PATTERN)
    if weighting and any(pattern.search(rest, weighting.end()) for pattern in late):
        return True
    return bool(POST_PATTERN.search(rest, weighting.end() if after_t1 and weighting else 0))


def names_agent_word(text: str) -> bool:
    """Tell whether a text says by a word for the agent that it was given; a lone `post` is no such word.

    Examples
    --------
    >>> names_agent_word("FLAIR +C"), names_agent_word("FLAIR post"), names_agent_word("FLAIR w/o Gd")
    (True, False, False)
    """
    return bool(AGENT_PATTERN.search(PLAIN_PATTERN.sub(" ", _drop_neutral(text))))


def tells_no_agent(text: str) -> bool:
    """Tell whether a text says that no contrast agent was given yet.

    Examples
    --------
    >>> [tells_no_agent(one) for one in ("T1 nativ", "T1 pre", "T1 pre and post", "T1", "T1 pre op")]
    [True, True, False, False, False]
    """
    return bool(PLAIN_PATTERN.search(_drop_neutral(text)))


def tells_both(text: str) -> bool:
    """Tell whether a text is of images before and after an agent, and says no more of this one.

    Examples
    --------
    >>> tells_both("T1 vor und nach KM"), tells_both("T1 W/WO, POST"), tells_both("T1 w/o")
    (True, False, False)
    """
    spoken = BOTH_PATTERN.search(BRIGHTNESS_PATTERN.sub(" ", _fold(text)))
    return bool(spoken) and not (tells_agent(text, after_t1=False) or tells_no_agent(text))


def names_agent(agent: str) -> bool:
    """Tell whether a header's field for the contrast agent names one.

    Examples
    --------
    >>> names_agent("Gadovist 7.5 ml"), names_agent("Y"), names_agent("Gadolinium")
    (True, True, True)
    >>> names_agent("NONE"), names_agent("no contrast"), names_agent("0 ml"), names_agent("-")
    (False, False, False, False)
    """
    words = set(re.findall(r"[\w.]+", agent.lower()))
    return bool(words) and not (words & NO_AGENT_WORDS and words <= NO_AGENT_WORDS | AGENT_FILLERS)
