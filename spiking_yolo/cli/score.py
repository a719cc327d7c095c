"""Score boxes that are there already, of whatever detector, by COCO's or VOC's rule. No network is
needed.

    spiking-yolo score --predictions dt.json --data instances_val2017.json
    spiking-yolo score --predictions dt.json --data VOCdevkit --year 2012 --metric voc
    spiking-yolo score --predictions runs/eval/exp/predictions_1.json --data coco --per-class

The predictions are a list in COCO's results format: {"image_id", "category_id", "bbox": [x, y,
width, height], "score"}. Images and categories are called by their ids in the annotation file, or
by the names of the files, without suffix, and of the classes. For data without such a file `eval`
writes one, instances.json, beside its predictions.
"""

from spiking_yolo.apps.score import ScoreOptions

OPTIONS = ScoreOptions


def main(options: ScoreOptions) -> None:
    """Score, print and save."""
    from spiking_yolo.apps.score_run import score

    found = score(options)
    print("".join(f"{note}\n" for note in found.notes) + found.text(options.per_class))
    if options.output is not None:
        found.save(options.output)
        print(f"\nfigures saved to {options.output}")
