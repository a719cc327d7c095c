"""The `spiking-yolo` command: its commands, its process, and names of before."""
