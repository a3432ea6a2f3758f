"""Each planted bug still finds the code that it changes; `python -m tests.chaos --planted` runs them."""

from __future__ import annotations

import pytest

from tests.chaos.planted import PATCH, PLANTED


@pytest.mark.parametrize("name", PLANTED)
def test_a_plant_finds_what_it_changes(name: str) -> None:
    try:
        PLANTED[name].plant()
    finally:
        PATCH.undo()
