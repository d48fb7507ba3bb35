"""Images that are no weighting, told by their name: field maps, maps of a quantity, images that maps are made of.

Their timing is that of the sequence behind them, so without the name they would be taken for T1-weighted images.
"""

from __future__ import annotations

import re

from siamese_med.ingestion import agent_words
from siamese_med.study.contrasts import OTHER_CONTRAST

OTHER_SUFFIXES = (
    "magnitude", "magnitude1", "magnitude2", "fieldmap", "tb1map", "rb1map", "tb1tfl", "tb1rfm", "tb1dam", "tb1epi",
    "tb1afi", "tb1srge", "rb1cor", "r1map", "r2map", "r1rho", "t1rho", "mtrmap", "mtsat", "mtvmap", "mwfmap", "m0map",
    "s0map", "vfa", "mpm", "mts", "mtr", "irt1", "pdt2", "pdt2map", "m0scan", "sbref",
)  # fmt: skip
"""Last parts of BIDS names, in lower case, of field maps, of maps, and of images that maps are made of."""

_MAP = r"[ _-]?map(s|ping)?"
OTHER_PATTERN = (
    rf"(gre[ _-]|b0[ _-])?field{_MAP}\w*|b0{_MAP}|(\w*[ _-])?[tr]?b1(plus|\+)?{_MAP}|(tfl|dream|afi)[ _-]?b1\w*|"
    rf"k[ _-]?trans(?!f)\w*|kep|i?auc\d*|(dce|perm\w*|tofts)[ _-]+(ve|vp|k2)|mt[ _-]?sat|mtr({_MAP})?|r[12]{_MAP}|"
    rf"(sy ?mri|magic)[ _-]r[12]|(fat|water)[ _-]?frac\w*|(pd)?ff{_MAP}|pdff|(u|mu|\u00b5){_MAP}|mrac|"
    rf"attenuation[ _-]?(map|corr\w*)|4d[ _-]?flow|q[ _-]?flow|flow[ _-]?quant\w*|cest|apt[ _-]?(w|weighted|map)|"
    rf"elastogra\w*|mrsi|spectroscop\w*|mwf|myelin[ _-]?water\w*|[ms]0[ _-]?(scan|map)|(t1|t2|t2[ _-]?(\*|star)|pd)"
    rf"[ _-]?mapping|(exponential|e)[ _-]?adc|t1[ _-]?rho|(sh)?molli|mdme|mrf|mr[ _-]?fingerprint\w*|tmax|gbp|pbp|"
    rf"((dti|dwi|dtensor|tensor|diff\w*)[ _-]+)(md|rd|ad)|((dti|dwi|tensor|diff\w*)[ _-]+)?col(ou?r)?[ _-]?fa|"
    rf"mean[ _-]diff\w*|(md|rd|oef|cmro2){_MAP}"
)
"""Names of the same in descriptions; part of regular expressions."""

CT_KINDS = (
    *((word, rf"(rel|reg|r)?[ _-]?{word}({_MAP})?") for word in ("CBF", "CBV", "MTT", "TTP")),
    (
        OTHER_CONTRAST,
        r"t[ _-]?max|permeab\w*|perf\w*[ _-]?(map|param)\w*|pbv|vnc\w*|virtual[ _-]?non\w*|z[ _-]?eff\w*|eff[ _-]z|"
        r"electron[ _-]dens\w*|rho[ _-]?z|calcium[ _-](supp\w*|map)|overlay|jod[ _-]?(karte|map)|"
        r"(?<!with )(?<!mit )iod(ine)?(?!\w)(?![ _-]*(contrast|kontrast))",
    ),
)
"""Maps that are made of a CT, by its description."""

CT_AGENT_PATTERN = re.compile(
    r"(?<![a-z])(cta|ctv|ctp|ct[ _-]?angio\w*|angio\w*|arteri(al|ell|elle|oso)|portal\w*|ven(ous|oes|\u00f6s|oso|osa)|"
    r"perf(usion)?)(?![a-z])",
    re.I,
)
"""Names of CT series that are made with an agent only."""


def find_computed_tomography_kind(description: str, given: bool) -> str:
    """Return the contrast of a CT by its description: plain, enhanced, or a map.

    Parameters
    ----------
    description
        Series description.
    given
        Whether the header's fields name a contrast agent.

    Examples
    --------
    >>> [find_computed_tomography_kind(one, False) for one in ("Head native", "CTA Head", "DE Iodine Map", "MTT")]
    ['CT', 'CTCE', 'other', 'MTT']
    >>> find_computed_tomography_kind("Head without contrast", True), find_computed_tomography_kind("Head", True)
    ('CT', 'CTCE')
    """
    for kind, pattern in CT_KINDS:
        if re.search(rf"(?<![a-z0-9])({pattern})(?![a-z0-9])", description, re.I):
            return kind
    if agent_words.tells_no_agent(description):
        return "CT"
    told = agent_words.tells_agent(description, after_t1=False) or CT_AGENT_PATTERN.search(description)
    return "CTCE" if given or told else "CT"
