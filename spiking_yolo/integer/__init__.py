"""The engine of methods that send complete values: a network of whole numbers.

Weights are levels of 8 bits, a neuron sends a whole number k of its scale, -127..127, and the image
is bytes. So every sum is a whole number, exact in whatever order it is added, and the only rounding
is one multiplication and one addition per neuron: the same bits on every processor, with every
kernel, batch and number of threads.

    graph, neurons, recipe, spec
      | parameters.py   whole weights, scales and biases; neuron.py has the neuron's equation
      v
    plan.py             `compile`: typed records, in order; `_step` chooses a layer's kernel
      |
      +-> execute.py    the reference: the plan in PyTorch, everywhere, on any device
      |                 (convolution.py: exact sums; ONNX files are exported from here)
      |
      +-> program.py    one record for each step in C: packed weights, what it reads and writes,
            |           and which step computes the sums of a convolution (packing.py orders
            |           weights, structures.py reads C's structures off program.h)
            v
          memory.py     maps, sums and events of a photograph or a video; state.py runs its frames
            v
          program.c     image -> neurons | pooling | attention -> ... -> heads; each in one pass
                        with the sums that it alone reads (sums.h):
                        events      sums += weight * delta, where few of the inputs changed
                        direct      sums anew: everywhere (a photograph), or where changes reach
                        depthwise   the same for a channel each
                        reference   back to Python: linear layers, average pooling, ...
                        maps.h counts what is sent and marks what it reaches

    network.py          IntegerNetwork: photographs and frames in, outputs and what they cost
    video.py            a video: cuts, dead zone, lossless

A kernel is a value of `Kernel` and a case of `_kernel` in plan.py, and a function in sums.h. Two
choices are made in a frame, by `is_anew` in sums.h: whether events are added to a layer's sums or
these are computed anew, and `learn` in program.c, which takes the limit from the times of both.
"""
