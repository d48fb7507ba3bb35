"""The patients and the short training that tests of the network use too."""

from __future__ import annotations

from tests.network.conftest import brief as brief
from tests.network.conftest import cohort as cohort
