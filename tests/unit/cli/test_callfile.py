"""A file of calls: every line is a row or a reason, and one bad line never hides a good one."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.callfile import CallFile
from orchestrator.cli.rowfile import MAX_LINE_BYTES, BadLine, Row
from orchestrator.errors import BadInput


@pytest.fixture
def read(tmp_path: Path):
    def read(content: bytes | str, *, name: str = "calls.csv") -> list[Row | BadLine]:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        file = CallFile(path=path)
        try:
            return list(file.rows())
        finally:
            file.close()

    return read


def test_a_line_gives_its_values_by_column_and_its_number(read):
    assert read("to,metadata.name\n+12125550100,Ann\n+12125550101,Bob\n") == [
        Row(2, {"to": "+12125550100", "metadata.name": "Ann"}),
        Row(3, {"to": "+12125550101", "metadata.name": "Bob"}),
    ]


def test_a_byte_order_mark_windows_line_ends_and_spaces_are_no_part_of_the_values(read):
    assert read(b"\xef\xbb\xbfTo , Account\r\n +12125550100 ,acme\r\n") == [Row(2, {"to": "+12125550100", "account": "acme"})]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_spreadsheets_of_other_countries_separate_otherwise(read, delimiter):
    assert read(f"to{delimiter}account\n+12125550100{delimiter}acme\n") == [Row(2, {"to": "+12125550100", "account": "acme"})]


def test_a_quoted_text_may_hold_commas_quotation_marks_and_line_breaks(read):
    assert read('to,metadata.note\n+12125550100,"a, ""b""\nc"\n+12125550101,d\n') == [
        Row(2, {"to": "+12125550100", "metadata.note": 'a, "b"\nc'}),
        Row(4, {"to": "+12125550101", "metadata.note": "d"}),
    ]


def test_blank_lines_and_empty_fields_say_nothing(read):
    assert read("\nto,account\n\n+12125550100,\n ,\n") == [Row(4, {"to": "+12125550100"})]


def test_a_line_that_is_not_utf8_is_refused_and_the_others_are_read(read):
    rows = read(b"to,metadata.name\n+12125550100,Jos\xe9\n+12125550101,Bob\n")
    assert rows == [
        BadLine(2, "is not UTF-8 text: save the file as UTF-8"),
        Row(3, {"to": "+12125550101", "metadata.name": "Bob"}),
    ]


def test_a_line_with_another_number_of_fields_is_refused(read):
    (bad, good) = read("to,account\n+12125550100,acme,7\n+12125550101,acme\n")
    assert bad == BadLine(2, "it has 3 fields and the header 2: put texts that hold a comma in quotation marks")
    assert isinstance(good, Row)


def test_a_quotation_mark_that_is_never_closed_is_told_with_all_the_lines_it_swallows(read):
    (good, bad) = read('to,account\n+12125550100,acme\n+12125550101,"acme\n+12125550102,acme\n')
    assert isinstance(good, Row)
    assert isinstance(bad, BadLine)
    assert bad.line == 3
    assert "swallows lines 3 to 4" in bad.reason


def test_a_quotation_mark_that_swallows_very_much_does_not_swallow_the_rest(read):
    rows = read('to,account\n+12125550100,"acme\n' + "+12125550101,acme\n" * 20_000)
    assert isinstance(rows[0], BadLine)
    assert rows[0].line == 2
    assert any(isinstance(row, Row) for row in rows)


def test_text_behind_a_closing_quotation_mark_is_refused(read):
    (bad, good) = read('to,account\n+12125550100,"ac"me\n+12125550101,acme\n')
    assert isinstance(bad, BadLine)
    assert isinstance(good, Row)


def test_a_line_of_no_end_is_not_taken_into_memory(read):
    (good, bad) = read("to\n+12125550100\n" + "x" * (MAX_LINE_BYTES + 5))
    assert isinstance(good, Row)
    assert isinstance(bad, BadLine)
    assert bad.line == 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("to\n", "there are no calls in it"),
        ("phone,account\n+12125550100,acme\n", "did you mean 'to'?"),
        ("to,acount\n", "did you mean 'account'?"),
        ("to,favourite colour\n", "name it 'metadata.favourite colour'"),
        ("to,to\n", "stands there twice"),
        ("to,\n", "has no name"),
        ("account\nacme\n", "no column is named 'to'"),
        ("+12125550100,acme\n", "must name the columns"),
        (b"\xff\xfet\x00o\x00", "is UTF-16"),
        (b"PK\x03\x04rest", "save the sheet as CSV"),
        (b"to,metadata.\xe9\n", "is not UTF-8"),
    ],
)
def test_a_file_of_which_nothing_can_be_read_is_refused_with_its_name_and_what_to_do(read, content, says):
    with pytest.raises(BadInput, match=r"calls\.csv: ") as refused:
        read(content)
    assert says in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"none\.csv: No such file"):
        CallFile(path=tmp_path / "none.csv")


def test_only_known_kinds_of_files_are_read(read):
    with pytest.raises(BadInput, match=r"must end in \.csv or \.jsonl, not \.xlsx"):
        read("x", name="calls.xlsx")


def test_each_line_of_json_lines_is_one_object(read):
    rows = read('{"to": "+12125550100", "metadata": {"a": 1}, "key": null}\n\n{"to": 12}\n', name="calls.jsonl")
    assert rows == [Row(1, {"to": "+12125550100", "metadata": {"a": 1}}), Row(3, {"to": 12})]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"to": ', "is not JSON"),
        (b'["+12125550100"]', "is not a JSON object"),
        (b'{"phone": "+12125550100"}', "did you mean 'to'?"),
        (b'{"to": "1", "TO": "2"}', "stands there twice"),
        (b'{"to": "Jos\xe9"}', "is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_bad_line_of_json_lines_is_refused_and_the_next_is_read(read, line, says):
    (bad, good) = read(line + b'\n{"to": "+12125550100"}\n', name="calls.jsonl")
    assert isinstance(bad, BadLine)
    assert says in bad.reason
    assert good == Row(2, {"to": "+12125550100"})
