"""Everything that exists for speed alone: memory layout, blocks, packed weights, compiled code.

`Backend` (backend.py) makes what the simulator uses of it. A reader who skips this folder
understands everything else: a layer's step is applied to all its rows, a pooled sum is
max_pool(sum), a convolution is a convolution.
"""
