"""The references of the documentation: what is cited exists, and links lead where the entry says."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
KEY = r"[a-z]+\d{4}[a-z]*"


def entries(text: str) -> dict[str, dict[str, str]]:
    """The fields of each entry by its key; a field has a line of its own."""
    parsed: dict[str, dict[str, str]] = {}
    for key, body in re.findall(r"^@[a-z]+\{(.+),\n((?:  .+,\n)+)\}$", text, re.M):
        assert key not in parsed, f"two entries are named {key}"
        fields = re.findall(r"^  (\w+) *= \{(.+)\},$", body, re.M)
        assert len(fields) == body.count("\n"), f"{key} has a line that is no field"
        parsed[key] = dict(fields)
    return parsed


REFERENCES = entries((DOCS / "references.bib").read_text())
PAGES = {page: page.read_text() for page in DOCS.rglob("*.md")}
CITED = {key for text in PAGES.values() for key in re.findall(rf"\[({KEY})\](?!:)", text)}


def test_every_line_of_the_file_belongs_to_an_entry():
    text = (DOCS / "references.bib").read_text()
    assert len(REFERENCES) == text.count("@") > 30
    for key, fields in REFERENCES.items():
        assert re.fullmatch(KEY, key)
        assert {"author", "title", "year", "url"} <= set(fields), key
        assert re.fullmatch(r"(19|20)\d\d", fields["year"]) and fields["url"].startswith("https://")
        for value in fields.values():
            assert value.count("{") == value.count("}"), f"{key}: {value}"


def test_what_is_cited_exists_and_what_exists_is_cited():
    assert set(REFERENCES) == CITED


def test_what_was_not_read_in_full_is_marked_wherever_it_is_cited():
    marks = {"": "", "abstract only": r"\*", "abstract and released code": "†"}
    for text in PAGES.values():
        for key, mark in re.findall(rf"\[({KEY})\](?!:)(\\\*|†|)", text):
            assert mark == marks[REFERENCES[key].get("note", "")], key


def test_links_are_those_of_the_entries():
    links = dict(re.findall(rf"^\[({KEY})\]: (\S+)$", (DOCS / "references.txt").read_text(), re.M))
    assert links == {key: fields["url"] for key, fields in REFERENCES.items()}
