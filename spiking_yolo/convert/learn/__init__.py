"""Learning from photographs: statistics of activations, the sensitivity of the output, and training
of neurons.
"""
