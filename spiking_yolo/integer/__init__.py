"""The engine of methods that send complete values: a network of whole numbers.

Weights are levels of 8 bits, a neuron sends a whole number k of its scale, -127..127, and the image
is bytes. So every sum is a whole number, exact in whatever order it is added, and the only rounding
is one multiplication and one addition per neuron: the same bits on every processor, with every
kernel, batch and number of threads.

    neuron.py       the equation of the neuron, and the functions that it follows
    network.py      IntegerNetwork: what a step needs to know of the network, and what it costs
    step.py         a photograph, or a frame of which only what differs is computed; what lies
                    between layers: pooling, joining, products
    parameters.py   whole weights, scales and biases, from the ANN and the parameters of its neurons
    convolution.py  exact sums: 8-bit convolution by oneDNN, or float32 that carries whole numbers
    stream.py       a video frame by frame: cuts, dead zone, checks; noise.py its camera's noise
    kernels.c       a layer of neurons in one pass, and what changes reach; kernels.py calls it
"""
