"""The folder of `spiking-yolo demo` without a browser: what it holds and what is refused."""

import hashlib
import io
import json
import re
import tarfile

import pytest
from helpers.classifying import write_all
from helpers.tiny import run_tool, write_tiny

from spiking_yolo.apps import demo
from spiking_yolo.apps.demo import FILES, NAMES, runtime
from spiking_yolo.errors import UserError


def package(path, names=FILES):
    """A package as npm packs it, with a file that leads out of its folder."""
    with tarfile.open(path, "w:gz") as tar:
        for name in (*(f"package/dist/{name}" for name in names), "../evil", "package/README.md"):
            content = name.encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A package that counts as the published one."""
    path = package(tmp_path / "package.tgz")
    monkeypatch.setattr(demo, "SHA512", hashlib.sha512(path.read_bytes()).hexdigest())
    return path


@pytest.mark.slow
def test_the_folder_holds_the_page_and_nothing_else(tmp_path, archive):
    pytest.importorskip("onnx")
    weights = write_tiny(tmp_path)
    call = ("-o", tmp_path / "page", "--weights", weights, "--runtime", archive)
    assert run_tool("demo", *call) == 0
    folder = tmp_path / "page"
    assert {path.name for path in folder.iterdir()} == NAMES
    page = (folder / "index.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', page)[1])
    assert (data["width"], data["height"], data["counting"]) == (64, 64, "digits")
    assert [entry["name"] for entry in data["classes"].values()] == ["cat", "dog", "bird"]
    assert data["macs"] > 0 and data["states"][0]["input"].startswith("state.")
    # No address of another place, in what is ours; SVG's namespace is a name.
    for name in ("index.html", "page.css", "page.js", "network.js"):
        addresses = re.findall(r"https?://[\w.]+", (folder / name).read_text())
        assert set(addresses) <= {"http://www.w3.org", "http://localhost"}, name
    # Its own files may be replaced.
    assert run_tool("demo", *call) == 0


@pytest.mark.slow
def test_a_network_without_boxes_and_a_method_of_many_steps_are_refused(tmp_path, archive, capsys):
    pytest.importorskip("onnx")
    weights, _ = write_all(tmp_path)
    call = ("-o", tmp_path / "page", "--weights", weights, "--runtime", archive)
    assert run_tool("demo", *call) == 2
    assert "a detector" in capsys.readouterr().err
    tiny = ("--weights", write_tiny(tmp_path), "--method", "dcgs")
    assert run_tool("demo", "-o", tmp_path / "page", *tiny, "--runtime", archive) == 2
    assert "--method signed-digits" in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


def test_the_published_package_and_no_other(tmp_path, archive):
    files = runtime(archive)
    assert files == {name: f"package/dist/{name}".encode() for name in FILES}
    other = package(tmp_path / "other.tgz", FILES[:1])
    with pytest.raises(UserError, match="SHA-512"):
        runtime(other)
    with pytest.raises(UserError, match="No such file"):
        runtime(tmp_path / "missing.tgz")
