"""Score predictions alone: boxes of any detector against annotations, without a network or photographs.

    spiking-yolo score --predictions dt.json --data gt.json
    spiking-yolo score --predictions dt.json --data VOCdevkit --year 2012 --bootstrap 1000 --per-class

Predictions are in COCO's results format, [{"image_id", "category_id", "bbox": [x, y, width, height], "score"}], as
`spiking-yolo eval` writes them. COCO's twelve figures are those of pycocotools; VOC's rule is that of its devkit.
"""

from spiking_yolo.studies.score.options import ScoreOptions

OPTIONS = ScoreOptions


def main(options: ScoreOptions) -> None:
    from spiking_yolo.io.files import write_json
    from spiking_yolo.studies.score.run import score

    result = score(options)
    print(result.text(options.per_class))
    if options.output:
        write_json(options.output, result.results(), indent=1)
        print(f"results saved to {options.output}")
