"""What a line asks for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.cli.callrow import request_from
from orchestrator.errors import BadInput


def ask(values, **defaults):
    return request_from({"to": "+12125550100", **values}, defaults={"account": "acme", **defaults}, batch="b")


def test_the_command_lines_values_stand_in_for_what_a_line_leaves_out():
    assert ask({}, agent="ann").agent == "ann"
    assert ask({"agent": "bob"}, agent="ann").agent == "bob"


def test_columns_of_metadata_join_into_one_object():
    asked = ask({"metadata": '{"a": 1}', "metadata.name": "Ann", "metadata.Order No": "7"})
    assert asked.metadata == {"a": 1, "name": "Ann", "Order No": "7"}


def test_texts_of_a_csv_are_read_as_what_their_column_means():
    asked = ask({"priority": "5", "ring_timeout_s": "20.5", "run_at": "2026-11-21T10:00:00+01:00", "header.X-A": "1"})
    assert asked.priority == 5
    assert asked.ring_timeout_s == 20.5
    assert asked.run_at == datetime(2026, 11, 21, 9, tzinfo=UTC)
    assert asked.headers == {"X-A": "1"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"to": ""}, "'to' is missing"),
        ({"account": ""}, "'account' is missing"),
        ({"to": 12125550100}, "put 12125550100 in quotation marks"),
        ({"priority": "high"}, "'priority' must be a number, not \"high\""),
        ({"priority": "1.5"}, "must be a whole number"),
        ({"priority": "inf"}, "must be a whole number"),
        ({"priority": True}, "must be a number, not true"),
        ({"ring_timeout_s": [1]}, "must be a number, not [1]"),
        ({"run_at": "tomorrow"}, "write it like 2026-11-21T09:00:00Z"),
        ({"run_at": "2026-11-21T09:00:00"}, "has no zone"),
        ({"metadata": "{"}, "'metadata' is not JSON"),
        ({"metadata": "[" * 100_000}, "nested too deeply"),
        ({"metadata": "[1]", "metadata.a": "b"}, "must be a JSON object"),
        ({"metadata": '{"a": 1}', "metadata.a": "b"}, "metadata has 'a' twice"),
        ({"headers": "7"}, "'headers' must be a JSON object"),
        ({"headers": {"X-A": 1}}, "the header 'X-A' must be a text"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_to_do(values, says):
    with pytest.raises(BadInput) as refused:
        ask(values)
    assert says in str(refused.value)
