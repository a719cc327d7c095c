"""`python -m spiking_yolo`: the same as `spiking-yolo`."""

from spiking_yolo.cli import main

main()
