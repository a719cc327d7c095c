"""A network as an ONNX file, and run by onnxruntime.

    steps.py       what is exported: a network's step as a function of tensors, and its states
    complete.py    the step of methods that send complete values: T = 1, or a frame of a video
    rate.py        one timestep of rate coding
    operators.py   rounding, digits and suppression, as PyTorch and as ONNX compute them
    model.py       the model, with boxes, counts and metadata

PyTorch's exporter translates everything but the few operations of operators.py.
"""
