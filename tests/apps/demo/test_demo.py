"""The folder of `spiking-yolo demo` without a browser: what it holds, what is refused, how it is
served.
"""

import hashlib
import io
import json
import re
import tarfile
import threading
import urllib.request

import pytest
from helpers.classifying import write_all
from helpers.tiny import run_tool, write_tiny

from spiking_yolo.apps.demo import folder as demo
from spiking_yolo.apps.demo.folder import FILES, NAMES, open_server, runtime_folder
from spiking_yolo.errors import UserError


@pytest.fixture
def runtime_files(tmp_path):
    """A folder with files of the runtime's names."""
    folder = tmp_path / "runtime" / "dist"
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text(name)
    return folder.parent


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SPIKING_YOLO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def package(path, names=FILES):
    """A package as npm packs it, with a file that leads out of its folder."""
    with tarfile.open(path, "w:gz") as tar:
        for name in (*(f"package/dist/{name}" for name in names), "../evil", "package/README.md"):
            content = name.encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.slow
def test_the_folder_holds_the_page_and_nothing_else(tmp_path, runtime_files):
    pytest.importorskip("onnx")
    weights = write_tiny(tmp_path)
    call = ("-o", tmp_path / "page", "--weights", weights, "--runtime", runtime_files)
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


def test_a_folder_with_other_files_is_left_alone(tmp_path, capsys):
    pytest.importorskip("onnx")
    (tmp_path / "thesis.txt").write_text("mine")
    assert run_tool("demo", "-o", tmp_path) == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert run_tool("demo", "-o", tmp_path / "thesis.txt") == 2
    assert "give a folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_network_without_boxes_and_a_method_of_many_steps_are_refused(
    tmp_path, runtime_files, capsys
):
    pytest.importorskip("onnx")
    weights, _ = write_all(tmp_path)
    call = ("-o", tmp_path / "page", "--weights", weights, "--runtime", runtime_files)
    assert run_tool("demo", *call) == 2
    assert "a detector" in capsys.readouterr().err
    tiny = ("--weights", write_tiny(tmp_path), "--method", "dcgs")
    assert run_tool("demo", "-o", tmp_path / "page", *tiny, "--runtime", runtime_files) == 2
    assert "--method signed-digits" in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


def test_the_published_package_is_unpacked_and_no_other(tmp_path, empty_cache, monkeypatch):
    archive = package(tmp_path / "package.tgz")
    with pytest.raises(UserError, match="SHA-512"):
        runtime_folder(archive)
    assert not empty_cache.exists()
    monkeypatch.setattr(demo, "SHA512", hashlib.sha512(archive.read_bytes()).hexdigest())
    folder = runtime_folder(archive)
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert (folder / FILES[0]).read_text() == f"package/dist/{FILES[0]}"
    assert not list(tmp_path.rglob("evil"))
    # From now on neither npm nor the file is needed.
    assert runtime_folder(None) == folder


def test_without_npm_the_way_out_is_said(empty_cache, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="--runtime"):
        runtime_folder(None)


def test_what_npm_fetches_is_checked(tmp_path, empty_cache, monkeypatch):
    npm = tmp_path / "npm"
    npm.write_text(
        "#!/bin/sh\n"
        f'for folder; do :; done\necho other > "$folder/onnxruntime-web-{demo.VERSION}.tgz"\n'
    )
    npm.chmod(0o755)
    monkeypatch.setattr(demo.shutil, "which", lambda name: str(npm))
    with pytest.raises(UserError, match="SHA-512"):
        runtime_folder(None)
    npm.write_text("#!/bin/sh\necho no such host >&2; exit 1\n")
    with pytest.raises(UserError, match="no such host"):
        runtime_folder(None)
    assert not empty_cache.exists()


def test_a_folder_without_the_runtime_is_refused(tmp_path, runtime_files):
    assert runtime_folder(runtime_files) == runtime_folder(runtime_files / "dist")
    with pytest.raises(UserError, match=re.escape(FILES[1])):
        runtime_folder(tmp_path)
    with pytest.raises(UserError, match="No such file"):
        runtime_folder(tmp_path / "missing.tgz")


def test_the_server_gives_the_types_and_headers_that_browsers_need(runtime_files):
    with open_server(runtime_files / "dist", 0) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        types = {}
        for name in FILES:
            answer = urllib.request.urlopen(f"http://127.0.0.1:{http.server_port}/{name}")
            types[name] = answer.headers["Content-Type"]
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert list(types.values()) == ["text/javascript", "application/wasm"]
        with pytest.raises(UserError, match="--port"):
            open_server(runtime_files, http.server_port)
        http.shutdown()
