"""A report's HTML file, taken apart without a browser."""

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

# Attributes by which a page asks for more.
LOADS = {"src", "href", "srcset", "action", "poster", "data", "formaction"}


@dataclass
class Parsed:
    """addresses: of everything that the file asks for. texts: by element, the content of each.
    policy: what it may.
    """

    addresses: list[str] = field(default_factory=list)
    texts: dict[str, list[str]] = field(default_factory=dict)
    policy: str = ""
    elements: list[str] = field(default_factory=list)

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.texts["script"][0])


def parsed(path: Path) -> Parsed:
    page = Parsed()

    class Parser(HTMLParser):
        open = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.open = tag
            page.elements.append(tag)
            page.texts.setdefault(tag, []).append("")
            page.addresses.extend(value or "" for name, value in attrs if name in LOADS)
            if ("http-equiv", "Content-Security-Policy") in attrs:
                page.policy = dict(attrs)["content"] or ""

        def handle_endtag(self, tag: str) -> None:
            self.open = ""

        def handle_data(self, data: str) -> None:
            if self.open:
                page.texts[self.open][-1] += data

    Parser().feed(path.read_text())
    return page
