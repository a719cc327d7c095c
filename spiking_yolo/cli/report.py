"""One page to look at: what a spiking network sees in photographs or a video, at every timestep or
frame.

    spiking-yolo report photos/ --method msat-plus --T 16
    spiking-yolo report image.jpg --method msat-plus --T 64 -o image.html
    spiking-yolo report video.mp4 --every 2

The page is one HTML file that opens offline and needs no other file: boxes of the spiking network
and of the ANN, spike rates of every layer over the picture, output error, operations and energy. Of
an evaluation, which needs labels, `spiking-yolo eval --report` makes one.
"""

from spiking_yolo.apps.report import ReportOptions

OPTIONS = ReportOptions


def main(options: ReportOptions) -> None:
    from spiking_yolo.apps.console import Bars
    from spiking_yolo.apps.report.run import report
    from spiking_yolo.io.run_folder import run_directory

    path = options.output or run_directory(options.project, options.name) / "report.html"
    bars = Bars()
    try:
        page = report(options, bars)
    finally:
        bars.close()
    page.save(path)
    print(f"report saved to {path}, {path.stat().st_size / 1e6:.1f} MB: open it in a browser")
