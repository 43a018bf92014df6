"""`orchestrator do-not-call`: numbers are listed, shown, checked, imported, written out and taken off again."""

from __future__ import annotations

import pytest

from tests.cli.conftest import TO

OTHER = "+12125550101"


def listed(office) -> list[tuple[str, str | None]]:
    return sorted((entry["number"], entry["account"]) for entry in office("do-not-call", "list", "--json").document)


def test_a_number_is_listed_for_all_accounts_or_for_one_and_taken_off_again(office):
    assert office("do-not-call", "add", TO).out == f"{TO} is on the list of all accounts\n"
    added = office("do-not-call", "add", "(212) 555-0101", "--account", "acme", "--expires", "2099-01-01T00:00:00Z")
    assert added.out == f"{OTHER} is on the list of account acme until 2099-01-01 00:00:00Z\n"
    assert listed(office) == [(TO, None), (OTHER, "acme")]
    assert office("enqueue", "--account", "acme", "--to", TO).code == 2
    assert office("do-not-call", "remove", TO).out == f"{TO} is off the do-not-call list of all accounts\n"
    assert office("enqueue", "--account", "acme", "--to", TO).code == 0


def test_taking_a_number_off_one_list_says_which_list_still_has_it(office):
    office("do-not-call", "add", TO)
    office("do-not-call", "add", TO, "--account", "acme")
    removed = office("do-not-call", "remove", TO, "--account", "acme")
    assert "it is still on the do-not-call list of all accounts" in removed.out
    again = office("do-not-call", "remove", TO, "--account", "acme")
    assert (again.code, again.err) == (4, f"error: {TO} is not on the list of acme; it is on that of all accounts\n")


def test_a_number_is_checked(office):
    office("do-not-call", "add", TO, "--reason", "asked by letter")
    found = office("do-not-call", "check", TO)
    assert "asked by letter" in found.out
    assert office("do-not-call", "check", TO, "--account", "acme", "--json").document["listed"] is True
    assert office("do-not-call", "check", OTHER).out == f"{OTHER} is on no list\n"
    assert office("do-not-call", "check", OTHER, "--json").document == {"number": OTHER, "listed": False, "listings": []}


def test_lists_are_shown_in_pages_with_numbers_masked(office, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("".join(f"+1212555{n:04}\n" for n in range(100, 105)))
    assert office("do-not-call", "import", str(path)).code == 0
    first = office("do-not-call", "list", "--limit", "3")
    assert "+1212555" not in first.out
    assert sum(f"{n:04}" in first.out for n in range(100, 105)) == 3  # listed at once, they have no order among them
    place = first.out.split("--after ")[1].split()[0]
    assert len(office("do-not-call", "list", "--limit", "3", "--after", place, "--json").document) == 2
    assert office("do-not-call", "list", "--kind", "suppression").out == "nothing is listed\n"


BAD = """number,reason,expires_at,account
+12125550100,,,
five,,,
2125550101,national,,acme
+12125550102,"unclosed,,
"""
"""Lines 3 and 5 are bad; nothing behind an unclosed quotation mark can be read."""


def test_a_files_good_lines_are_listed_and_each_bad_one_is_told_by_its_number(office, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(
        "number,reason,expires_at,account\n"
        "+12125550100,asked by letter,,\n"
        "five,,,\n"
        "212 555 0101,,2099-01-01T00:00:00Z,acme\n"
        "+12125550102,,2020-01-01T00:00:00Z,\n"
        "+12125550103,,,nobody\n"
        "+12125550104,,tomorrow,\n"
        "+12125550105\n"
        ",no number,,\n"
        f"+12125550106,{'x' * 501},,\n"
        "+12125550100,again,,\n"
    )
    done = office("do-not-call", "import", str(path), "--country", "US")
    assert done.code == 3
    assert done.out == "10 lines: 2 listed, 1 listed before, 7 refused\n"
    assert [line.split(":")[0] for line in done.err.splitlines()] == [f"line {n}" for n in (3, 5, 6, 7, 8, 9, 10)]
    assert listed(office) == [("+12125550100", None), ("+12125550101", "acme")]
    again = office("do-not-call", "import", str(path), "--country", "US", "--json")
    assert again.documents[-1] == {
        "finished": True, "lines": 10, "listed": 0, "already_listed": 3, "refused": 7, "canceled": 0,
    }  # fmt: skip


def test_strictly_a_file_with_a_bad_line_lists_nothing(office, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(BAD)
    done = office("do-not-call", "import", str(path), "--country", "US", "--strict")
    assert done.code == 2
    assert "line 3: " in done.err
    assert "line 5: " in done.err
    assert "2 lines of " in done.err
    assert listed(office) == []
    path.write_text("+12125550100\n+12125550101\n")
    assert office("do-not-call", "import", str(path), "--strict").code == 0
    assert len(listed(office)) == 2


def test_numbers_without_a_country_code_need_a_country(office, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("2125550100\n")
    assert office("do-not-call", "import", str(path)).code == 3
    assert office("do-not-call", "import", str(path), "--account", "acme").code == 0
    assert listed(office) == [(TO, "acme")]


def test_what_is_written_out_can_be_imported_again(office, tmp_path):
    path = tmp_path / "list.csv"
    office("do-not-call", "add", TO, "--reason", 'said "no, thanks"')
    office("do-not-call", "add", OTHER, "--account", "acme", "--expires", "2099-01-01T00:00:00Z")
    before = office("do-not-call", "list", "--json").document
    assert office("do-not-call", "export", str(path)).out == f"2 numbers in {path}\n"
    office("do-not-call", "remove", TO)
    office("do-not-call", "remove", OTHER, "--account", "acme")
    assert office("do-not-call", "import", str(path)).code == 0
    after = office("do-not-call", "list", "--json").document
    kept = ("number", "account", "reason", "expires_at")
    assert sorted([entry[name] or "" for name in kept] for entry in after) == sorted(
        [entry[name] or "" for name in kept] for entry in before
    )


@pytest.mark.parametrize(
    ("arguments", "code", "names"),
    [
        (("add", "five"), 2, "five"),
        (("add", "2125550100"), 2, "write + and the country code"),
        (("add", TO, "--account", "nobody"), 4, "nobody"),
        (("add", TO, "--expires", "2020-01-01T00:00:00Z"), 2, "is past"),
        (("add", TO, "--expires", "soon"), 2, "'soon'"),
        (("add", TO, "--reason", "x" * 501), 2, "500"),
        (("remove", TO), 4, "not on the list of all accounts"),
        (("check", TO, "--account", "nobody"), 4, "nobody"),
        (("list", "--account", "nobody"), 4, "nobody"),
        (("list", "--limit", "0"), 2, "1 to 10,000"),
        (("list", "--after", "here"), 2, "'here'"),
        (("import", "nowhere.csv"), 2, "nowhere.csv"),
        (("export", "/nowhere/list.csv"), 2, "/nowhere/list.csv"),
    ],
)
def test_bad_input_is_one_line_that_names_it_and_changes_nothing(office, arguments, code, names):
    refused = office("do-not-call", *arguments)
    assert refused.code == code
    assert refused.out == ""
    assert refused.err.startswith("error: ")
    assert names in refused.err
    assert listed(office) == []
