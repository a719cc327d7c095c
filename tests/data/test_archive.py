"""Archives that would do harm to who unpacks them, or to the disk."""

import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from spiking_yolo.data import archive
from spiking_yolo.data.archive import unpack
from spiking_yolo.errors import UserError

Writer = Callable[[tarfile.TarFile], object]


def add(name: str, content: bytes = b"abc", **fields: object) -> Writer:
    def write(tar: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        for key, value in fields.items():
            setattr(member, key, value)
        tar.addfile(member, io.BytesIO(content) if member.isreg() else None)

    return write


def both(*writers: Writer) -> Writer:
    def write(tar: tarfile.TarFile) -> None:
        for one in writers:
            one(tar)

    return write


LINK = {"type": tarfile.SYMTYPE, "size": 0}


def too_long() -> Writer:
    """CVE-2025-4517: through links a path stays short that is too long for realpath to resolve, so
    that Python's filter takes its target to be inside. A hard link to it is a file outside, which
    the last member overwrites.
    """
    steps, folder, writers = "abcdefghijklmnop", "", []
    for step in steps:
        writers += [add(f"{folder}{'d' * 247}", b"", type=tarfile.DIRTYPE)]
        writers += [add(f"{folder}{step}", b"", linkname="d" * 247, **LINK)]
        folder += "d" * 247 + "/"
    root = f"{'/'.join(steps)}/{'l' * 254}"
    return both(
        *writers,
        add(root, b"", linkname="../" * len(steps), **LINK),
        add("out", b"", linkname=f"{root}/../../..", **LINK),
        add("link", b"", type=tarfile.LNKTYPE, linkname="out/kept", size=0),
        add("link", b"overwritten"),
    )


HOSTILE: dict[str, Writer] = {
    "step up": add("../escaped"),
    "step up inside": add("a/../../escaped"),
    "link out": both(add("out", b"", linkname="..", **LINK), add("out/escaped")),
    "link inside": add("a", b"", linkname="b", **LINK),
    "link too long to resolve": too_long(),
    "hard link": both(add("a"), add("b", b"", type=tarfile.LNKTYPE, linkname="a", size=0)),
    "device": add("null", b"", type=tarfile.CHRTYPE, size=0, devmajor=1, devminor=3),
    "fifo": add("pipe", b"", type=tarfile.FIFOTYPE, size=0),
    "a file below a file": both(add("a"), add("a/b")),
    "a file for a folder": both(add("a/b"), add("a")),
    "a name with an escape sequence": add("\x1b[2Ja"),
    "a name that no file can have": add("n" * 300),
    "a sparse file of terabytes": add(
        "big",
        b"",
        pax_headers={
            "GNU.sparse.map": "0,0",
            "GNU.sparse.size": str(1 << 42),
            "GNU.sparse.name": "big",
        },
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("suffix", ["tar", "tar.xz"])
def test_hostile_archives_are_refused_and_leave_nothing(
    tmp_path: Path, case: str, suffix: str
) -> None:
    mode = {"tar": "w", "tar.xz": "w:xz"}[suffix]
    with tarfile.open(tmp_path / f"evil.{suffix}", mode) as tar:  # type: ignore[call-overload]
        add("fine/first.png")(tar)
        HOSTILE[case](tar)
    cache = tmp_path / "deep" / "cache"
    (tmp_path / "kept").write_text("as it was")
    with pytest.raises(UserError, match=r"not a whole and safe tar file|cannot unpack") as caught:
        unpack(tmp_path / f"evil.{suffix}", cache)
    assert str(caught.value).isprintable()
    assert not list(cache.iterdir()) and not [p for p in tmp_path.rglob("*") if "escaped" in p.name]
    assert (tmp_path / "kept").read_text() == "as it was"


def test_harmless_oddities_stay_in_the_folder(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "odd.tar", "w") as tar:
        both(add("/tmp/absolute"), add("a", b"first"), add("a", b"second"), add("b/" * 40 + "c"))(
            tar
        )
    folder = unpack(tmp_path / "odd.tar", tmp_path / "cache")
    assert (folder / "tmp" / "absolute").read_bytes() == b"abc"
    assert (folder / "a").read_bytes() == b"second"


def zeros(path: Path, size: int) -> None:
    """An archive of one file of zeros, of a thousandth of its size."""
    with tarfile.open(path, "w:xz", preset=0) as tar:
        add("zeros", bytes(size))(tar)


def test_a_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "FREE", 1 << 20)
    zeros(tmp_path / "bomb.tar.xz", 2 << 20)
    zeros(tmp_path / "fine.tar.xz", 1 << 20)
    with pytest.raises(UserError, match="far more than its size"):
        unpack(tmp_path / "bomb.tar.xz", tmp_path / "cache")
    assert (
        unpack(tmp_path / "fine.tar.xz", tmp_path / "cache") / "zeros"
    ).stat().st_size == 1 << 20


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MEMBERS", 2)
    with tarfile.open(tmp_path / "many.tar", "w") as tar:
        both(add("a"), add("b"), add("c"))(tar)
    with pytest.raises(UserError, match="more than 2 files"):
        unpack(tmp_path / "many.tar", tmp_path / "cache")


def test_a_header_that_says_it_has_gigabytes_is_not_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 4 << 30
    with lzma.open(tmp_path / "long.tar.xz", "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(UserError, match="a header says that it has"):
        unpack(tmp_path / "long.tar.xz", tmp_path / "cache")


def test_a_full_disk_names_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add("a")(tar)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"cannot unpack .*a\.tar into .*cache"):
        unpack(tmp_path / "a.tar", tmp_path / "cache")
