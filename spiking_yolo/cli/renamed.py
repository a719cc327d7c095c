"""What commands and options of version 0.3 are called now; for this release."""

PAGE = "`detect --page FILE.html` makes the page"
EVAL = "`eval` decides by its data"
TUNE = "`calibrate --tune` moves the weights"
LIST = "`list` has them"
CAMERA = "cameras are fixed; version 0.3.0 followed moving ones"
RUNTIME = "networks are computed by PyTorch in float32"

COMMANDS = {
    "report": PAGE,
    "classify": EVAL,
    "compare": "`eval --method A,B` compares methods",
    "eval-video": EVAL,
    "score": "`eval --predictions FILE.json` scores boxes",
    "tune": TUNE,
    "convert": "`export` writes the file",
    "methods": LIST,
    "weights": LIST,
    "zoo": LIST,
    "search": "docs/howto has ten lines with optuna that search settings",
    "bound": "docs/results/bound.md has its figures, and version 0.3.0 the program",
    "leaderboard": "docs/leaderboard.py draws it",
    "completion": "`--install-completion` installs it",
    # As Ultralytics and YOLOv5 call them.
    "predict": "`detect` finds objects",
    "track": "`detect --track` follows objects",
    "val": "`eval` measures accuracy",
}
OPTIONS = {
    "--precision": RUNTIME,
    "--compile": RUNTIME,
    "--backend": RUNTIME,
    "--camera": CAMERA,
    "--pan": CAMERA,
    "--jitter": CAMERA,
    "--streams": "give one video at a time",
    "--gif": "`--page FILE.html` shows every timestep",
    "--save-crop": "`--save-json` has the boxes",
    "--format": "the suffix of --output decides",
    "--explain": "`export -o FILE.nir` says what NIR cannot express",
    "--list-methods": LIST,
    "--list-settings": "`list METHOD` has them",
    "--report": PAGE,
    "--quick": "`--calibration untrained` is made within seconds",
    "--modes": "videos are scored with the state kept and anew in each frame",
    "--limit-frames": "--limit is of videos too",
    # As Ultralytics and YOLOv5 call them.
    "--source": "give images and videos without an option",
    "--model": "--weights is the network",
    "--conf-thres": "--conf is the smallest confidence",
    "--iou-thres": "--iou is the overlap",
}
METHODS = {
    "signed-digits-tuned": "`--method signed-digits --calibration tuned-weights`",
    "signed-digits-video": "`--method signed-digits --calibration video`",
    "msat-plus": "`--method msat-tuned` is MSAT at its best, signed-digits the default",
}
LEFT = "fixed-fraction group-neurons adafire srp cos signed-memory differential coarse-to-fine"
METHODS |= dict.fromkeys(LEFT.split(), "version 0.3.0 is the last that has it")
