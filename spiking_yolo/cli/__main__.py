"""`python -m spiking_yolo.cli` is `spiking-yolo`."""

from spiking_yolo.cli.main import main

main()
