"""How well a spiking network does: scorers, the 8-bit ANN beside it, tables."""
