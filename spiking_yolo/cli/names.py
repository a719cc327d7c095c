"""Files and names of a call that do not exist, said before anything heavy is imported."""

import os
from dataclasses import replace
from pathlib import Path

from spiking_yolo.convert.registry import DEFAULT, get_recipe
from spiking_yolo.errors import UserError
from spiking_yolo.io.sources import check_there
from spiking_yolo.models.zoo import located
from spiking_yolo.settings import Options
from spiking_yolo.studies.options import MethodOptions, MethodsOptions, WeightsOptions, recipes


def check_names(options: Options) -> None:
    """Raises UserError for weights, data, or an only source that do not exist, for an unknown method, and for a setting
    that it does not have. What is in the files shows later.
    """
    if isinstance(options, WeightsOptions) and options.weights:
        path = located(options.weights)
        if not os.path.exists(path):
            raise UserError(f"cannot read the weights {path}: No such file or directory; check the path")
    if isinstance(options, MethodOptions):
        get_recipe(options.method or DEFAULT).with_settings(options.settings)
    if isinstance(options, MethodsOptions):
        recipes(options if options.methods else replace(options, methods=(DEFAULT,)))
    for name in ("data", "predictions"):
        path = getattr(options, name, None)
        if isinstance(path, Path) and not os.path.exists(path):
            raise UserError(f"{path} does not exist; check --{name}")
    sources = getattr(options, "sources", ())
    if len(sources) == 1:  # of several the others may be good
        check_there(sources[0])
