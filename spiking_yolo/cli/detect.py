from spiking_yolo.apps.detect import DetectOptions as OPTIONS
from spiking_yolo.apps.detect import __doc__ as __doc__
from spiking_yolo.apps.detect import main

__all__ = ["OPTIONS", "main"]
