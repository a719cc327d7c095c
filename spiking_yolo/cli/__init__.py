"""The `spiking-yolo` command. Each verb is a module in `apps`; only this package knows cyclopts."""
