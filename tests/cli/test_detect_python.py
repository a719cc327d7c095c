"""`apps.detect.detect` from Python: the files are those of the command line, to the byte."""

from pathlib import Path
from typing import Any

import pytest
from helpers.tiny import files, photo, run_tool
from helpers.video import walk, write_frames

from spiking_yolo import SpikingYOLO, UserError
from spiking_yolo.apps.detect import DetectOptions, detect
from spiking_yolo.apps.report import ReportOptions, report

FILES: dict[str, Any] = {
    "save_txt": True,
    "save_conf": True,
    "save_json": True,
    "overlay": True,
    "gif": True,
    "ann": True,
    "save_mot": True,
    "timeline": True,
    "figures": "svg",
}


@pytest.fixture
def sources(tmp_path) -> tuple[str, ...]:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "broken.png").write_bytes(b"no image")
    paths = (
        photo(folder / "a.png"),
        photo(folder / "b.jpg", 1),
        write_frames(folder / "clip.mp4", walk(4)),
        folder / "broken.png",
    )
    return tuple(map(str, paths))


@pytest.mark.filterwarnings("ignore:.*--gif is for images")
def test_python_writes_the_files_of_the_command_line(weights, sources, tmp_path):
    flags: list[object] = ["--T", 3, "--steps", "1,2", "--conf", 0.3]
    for name, value in FILES.items():
        flags.append(f"--{name.replace('_', '-')}")
        if value is not True:
            flags.append(value)
    assert (
        run_tool("detect", *sources, *flags, "--weights", weights, "--project", tmp_path / "shell")
        == 1
    )
    options = DetectOptions(
        sources,
        T=3,
        steps=(1, 2),
        conf=0.3,
        weights=weights,
        project=tmp_path / "python",
        **FILES,
    )
    summary = detect(options)
    assert summary.folder == tmp_path / "python/exp"
    assert list(summary.failures) == [sources[-1]]
    assert "broken.png" in str(summary.failures[sources[-1]])

    names = files(tmp_path / "shell/exp")
    assert names == files(summary.folder)
    kinds = {Path(name).suffix for name in names}
    assert kinds == {".jpg", ".png", ".svg", ".gif", ".txt", ".json", ".mp4"}
    for name in names:
        expected = (tmp_path / "shell/exp" / name).read_bytes()
        assert (summary.folder / name).read_bytes() == expected, name


def test_results_are_those_of_the_detector(weights, sources, tmp_path):
    options = DetectOptions(
        sources[:3], T=2, conf=0.3, weights=weights, project=tmp_path, save_json=True
    )
    results = detect(options).results
    detector = SpikingYOLO(weights)
    expected = detector.detect(list(sources[:2]), T=2, conf=0.3)
    expected += list(detector.stream(sources[2], T=2, conf=0.3))
    assert [result.frame for result in results] == [None, None, 0, 1, 2, 3]
    for result, other in zip(results, expected, strict=True):
        assert result.boxes.xyxy.equal(other.boxes.xyxy) and result.operations == other.operations


def test_a_mistake_raises_and_leaves_nothing(weights, sources, tmp_path):
    project = tmp_path / "runs"
    mistakes: tuple[dict[str, Any], ...] = (
        {"save_mot": True},
        {"overlay": True, "layers": ("x",)},
        {"classes": ("x",)},
    )
    for options in mistakes:
        with pytest.raises(UserError):
            detect(DetectOptions(sources[:1], weights=weights, project=project, **options))
    with pytest.raises(UserError, match=r"broken\.png"):
        detect(DetectOptions(sources[3:], weights=weights, project=project))
    assert not project.exists()


def test_progress_is_of_all_images(weights, tmp_path):
    """Images x T, whatever a network needs of them; a video has a count of its own."""
    photos = weights.parent / "photos"
    sources = (str(photos / "a.png"), str(photos / "b.png"), str(photos / "a.png"))
    steps: list[tuple[str, int, int]] = []
    options = DetectOptions(sources, T=3, method="p-norm", weights=weights, project=tmp_path)
    detect(options, lambda what, done, total, remark: steps.append((what, done, total)))
    assert [done for _, done, _ in steps if done % 3] == [1, 2, 4, 5, 7, 8]
    assert {(what, total) for what, _, total in steps} == {("timesteps", 9)}
    assert steps[-1][1] == 9
    seen: list[tuple[str, int, int]] = []
    page = ReportOptions(sources[:2], T=2, weights=weights, project=tmp_path)
    report(page, lambda what, done, total, remark: seen.append((what, done, total)))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert {(what, total) for what, _, total in seen} == {("timesteps", 4)}
