"""Added measures, dimensions and views over HTTP: what is offered, described and refused."""

from __future__ import annotations

from api.asking import PARAMETERS, TIME, filter_names
from api.derived import offered_by
from api.openapi import document
from api.usage import VALUES_PARAMETERS
from schemas.catalog import _PERCENTILE, TAKEN, parse_catalog
from schemas.views import DEFAULT
