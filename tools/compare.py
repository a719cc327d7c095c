"""Compare conversion methods on one network: one table and one plot, methods x timesteps.

    python tools/compare.py --data coco --methods p-norm,channel-norm,msat --steps 8,16,32,64
    python tools/compare.py --data coco --methods all --T 256 --limit 16 --seed 0

--data takes a COCO folder, an annotation .json, a VOCdevkit or a data.yaml. PROJECT/NAME gets comparison.csv,
comparison.json, accuracy-T.png and accuracy-operations.png; --resume DIR goes on after an interruption.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs without an installation

from spiking_yolo import cli
from spiking_yolo.studies.evaluate.arguments import add_time, chosen_steps


def main() -> None:
    p = cli.parser(__doc__)
    p.add_argument("--data", type=Path, default=cli.ROOT / "data" / "samples", help="default: the sample photographs")
    p.add_argument("--split", help="default: val2017 of a COCO folder, val of the others")
    p.add_argument("--methods", default="all", help="names or recipe.json files with commas, or all (default)")
    add_time(p)
    p.add_argument("--limit", type=cli.positive, metavar="N", help="evaluate N images only")
    p.add_argument("--seed", type=int, default=0, help="chooses the N images of --limit (default 0)")
    p.add_argument("--batch", type=cli.positive, default=1, help="images simulated together (default 1)")
    cli.add_thresholds(p, conf=0.001, max_det=100)
    cli.add_network(p, choose_method=False)
    p.add_argument("--project", type=Path, default=Path("runs/compare"))
    p.add_argument("--name", default="exp")
    p.add_argument("--resume", type=Path, metavar="DIR", help="go on with an interrupted comparison")
    args = p.parse_args()

    steps = chosen_steps(args)
    cli.check_thresholds(args)
    from spiking_yolo.datasets.open import open_detection
    from spiking_yolo.studies.evaluate.comparison import chosen_recipes, compare
    from spiking_yolo.studies.evaluate.engine import Settings
    from spiking_yolo.studies.evaluate.scorers import CocoScorer

    dataset = open_detection(args.data, args.split)
    if args.limit:
        dataset = dataset.subset(args.limit, args.seed)
    recipes = chosen_recipes(args.methods, cli.parse_settings(args.set))
    ann = cli.load_ann(args)
    directory = args.resume or cli.run_directory(args.project, args.name)
    thresholds = {"conf": args.conf, "iou": args.iou, "max_det": args.max_det}
    settings_ = Settings(steps[-1], steps, args.batch)
    how = args.device, cli.simulation(args)
    comparison = compare(ann, recipes, dataset, settings_, CocoScorer(dataset), directory, thresholds, *how)
    print(f"\n{comparison.text()}")
    comparison.save(directory)
    print(f"results saved to {directory}")


if __name__ == "__main__":
    cli.run(main)
