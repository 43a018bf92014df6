"""Everything here runs on the embedded PostgreSQL and on a second, older one."""

from __future__ import annotations

import pytest

from tests.db.office import Office
from tests.fixtures.database import EMBEDDED, SECOND, why_no_second_server

_why_not = why_no_second_server()


@pytest.fixture(
    params=[
        pytest.param(EMBEDDED, id="embedded"),
        pytest.param(SECOND, id="second", marks=[pytest.mark.skip(reason=_why_not)] if _why_not else []),
    ]
)
def postgres(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def office(database) -> Office:
    return await Office.furnish(database)
