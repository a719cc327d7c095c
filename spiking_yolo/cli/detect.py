"""Detect objects with a spiking network, and see what it sees at every timestep.

    spiking-yolo detect image.jpg --T 1
    spiking-yolo detect photos/ --method msat-plus --T 32 --steps 4,8,16,32 --save-json --overlay
    spiking-yolo detect video.mp4 --timeline --overlay --save-mot

Sources: image files, folders, globs, .txt lists of them, videos, addresses of streams, or the
number of a webcam. In a video the network keeps its state from frame to frame and sends only what
changes. The annotated pictures and videos and whatever else is asked for are saved in PROJECT/NAME,
PROJECT/NAME2, ...; Ctrl-C leaves what was done so far. Exit status: 0; 1 when some of several
inputs failed; 2 when the call is wrong or every input failed.
"""

from spiking_yolo.apps.detect import DetectOptions

OPTIONS = DetectOptions


def main(options: DetectOptions) -> int:
    from spiking_yolo.apps.detect_run import detect
    from spiking_yolo.cli.detect_report import Report

    with Report(options) as report:
        failed = detect(options, report)
    if not failed:
        return 0
    return 2 if len(failed) == report.count else 1
