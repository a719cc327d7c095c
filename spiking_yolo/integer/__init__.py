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
      +-> program.py    the plan in C: packing.py orders the weights, memory.py lays out maps, sums
            |           and events, and state.py runs frame after frame of a video
            v
          program.c     image -> sums -> neurons | pooling -> ...
                        events      sums += weight * delta, where few of the inputs changed
                        direct      sums anew: everywhere (a photograph), or where changes reach
                        depthwise   the same for a channel each
                        reference   back to Python: attention, linear layers, mish, ...

    network.py          IntegerNetwork: photographs and frames in, outputs and what they cost
    video.py            a video: cuts, dead zone, lossless

A kernel is a value of `Kernel` and a case of `_kernel` in plan.py, and a function in program.c that
`layer_chunk` calls.
"""
