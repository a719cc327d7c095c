"""Whether a tag can be released: `python .ci/release.py v0.3.0 https://github.com/OWNER/REPOSITORY`
prints what does not agree, and exits with status 1 if anything does not.
"""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def problems(tag: str, address: str, root: Path = ROOT) -> Iterator[str]:
    """What does not agree with the version and the address in pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    cited = yaml.safe_load((root / "CITATION.cff").read_text())
    version, repository = project["version"], project["urls"]["Repository"]
    if tag != f"v{version}":
        yield f"the tag is {tag}, the version in pyproject.toml {version}"
    if address != repository:
        yield f"this is {address}, the Repository in pyproject.toml {repository}"
    for key, expected in (("version", version), ("repository-code", repository)):
        if cited.get(key) != expected:
            yield f"CITATION.cff has {key} {cited.get(key)}, pyproject.toml {expected}"
    heading = f"## [{version}] - {cited.get('date-released')}"
    if heading not in (root / "CHANGELOG.md").read_text():
        yield f"CHANGELOG.md has no heading {heading}, with the date-released of CITATION.cff"


if __name__ == "__main__":
    found = list(problems(*sys.argv[1:]))
    print(*found, sep="\n", file=sys.stderr)
    sys.exit(bool(found))
