"""A network as an ONNX file.

    step.py        what is exported: a step as a function of tensors, and the states that it keeps
    operators.py   rounding, digits, powers of two and suppression, as ONNX computes them
    model.py       the model, with boxes, counts and metadata

PyTorch's exporter translates everything but the few operations of operators.py.
"""
