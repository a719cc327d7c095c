"""Detectors by accuracy and absolute operations per image: one table and one picture, of any number
of results.json files and of what others published.

    spiking-yolo leaderboard runs/eval
    spiking-yolo leaderboard a/results.json b/results.json --counting messages

Sources are the results.json files of `eval`, or folders with such files inside. PROJECT/NAME gets
leaderboard.md, leaderboard.json and leaderboard.png; the same files give the same bytes. There is
one row per dataset, network, input size, method and T: of several that with the most images, then
the latest. Operations are counted in one way for all rows. Published detectors stand beside them
as they were published, with open markers: their operations were not counted here, and most are
unknown. docs/howto/leaderboard.md has the format of the files.
"""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Literal

from spiking_yolo.draw import FigureOptions
from spiking_yolo.options import OutputOptions
from spiking_yolo.settings import setting


@dataclass(frozen=True)
class LeaderboardOptions(FigureOptions, OutputOptions):
    """Of which files, and how operations are counted."""

    title = "options"

    sources: tuple[str, ...] = setting(doc="results.json of eval, or a folder with such files")
    _: KW_ONLY
    counting: Literal["spikes", "digits", "messages"] = setting(
        "digits", "operations of the picture and of the printed table; files have all three"
    )
    published: Path | None = setting(
        None, "published detectors, a .json (default: those that come with the package)"
    )
    project: Path = setting(Path("runs/leaderboard"))


def main(options: LeaderboardOptions) -> None:
    from spiking_yolo.apps.leaderboard.board import Leaderboard
    from spiking_yolo.apps.leaderboard.published import read_published
    from spiking_yolo.apps.leaderboard.results import read_runs
    from spiking_yolo.io.run_folder import run_directory

    runs = read_runs([Path(source) for source in options.sources])
    board = Leaderboard.of(runs, read_published(options.published), options.counting)
    folder = run_directory(options.project, options.name)
    print(board.text())
    board.save(folder, options.figures)
    print(f"results saved to {folder}")
