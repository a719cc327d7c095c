"""The folder of a study: a new one, or that of an interrupted run."""

from pathlib import Path

from spiking_yolo.errors import UserError
from spiking_yolo.io.run_folder import hold, run_directory
from spiking_yolo.studies.options import ResumableOptions

LATEST = Path("latest")


def study_folder(options: ResumableOptions, records: str, last: str = "") -> Path:
    """Where a run writes.

    records: a pattern of what an interrupted run has left. last: what a finished one has, if it cannot go on.
    Raises UserError when nothing can be written there or another process does, when there is nothing to resume, or it
    is finished.
    """
    project, name, folder = options.project, options.name, options.resume
    if folder is None:
        return run_directory(project, name)
    if folder == LATEST:
        last_part = len(Path(name).name)
        runs = [p for p in project.glob(f"{name}*") if p.name[last_part:].isdigit() or p == project / name]
        unfinished = [p for p in runs if not (last and (p / last).exists()) and any(p.glob(records))]
        if not unfinished:
            raise UserError(f"no unfinished run {name} in {project}: leave --resume out, or name its folder")
        folder = max(unfinished, key=lambda p: int(p.name[last_part:] or 1))
    elif last and (folder / last).exists():
        raise UserError(f"{folder} is finished: leave --resume out to start a new run")
    elif not any(folder.glob(records)):
        raise UserError(f"{folder} holds no interrupted run: leave --resume out to start a new one")
    hold(folder)
    return folder
