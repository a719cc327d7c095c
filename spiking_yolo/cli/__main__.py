"""`python -m spiking_yolo.cli` is `spiking-yolo`."""

from spiking_yolo.cli.start import main

main()
