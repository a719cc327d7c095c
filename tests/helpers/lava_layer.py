"""A convolution and sigma-delta neurons in the fixed-point models of Intel's Lava, as a program for
Python 3.10: it reads arrays from a file, and writes the events of every step to another.
"""

import sys

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.conv.process import Conv
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from lava.proc.sdn.process import SigmaDelta


def simulate(changes: np.ndarray, levels: np.ndarray, bias: np.ndarray, vth: int) -> np.ndarray:
    """Events [steps, out, H, W] of changes [steps, in, H, W], levels [out, in, kh, kw]."""
    # Lava's maps are [W, H, C], and it turns its kernels around.
    inputs = changes.transpose(3, 2, 1, 0).astype(np.int32)
    weight = levels[:, :, ::-1, ::-1].transpose(0, 3, 2, 1).astype(np.int32)
    source = Source(data=inputs)
    convolution = Conv(weight=weight, input_shape=inputs.shape[:3], padding=1, num_message_bits=8)
    shape = convolution.output_shape
    neurons = SigmaDelta(shape=shape, vth=vth, bias=np.broadcast_to(bias, shape).astype(np.int32))
    # What a convolution adds up arrives in the next step.
    steps = len(changes) + 1
    sink = Sink(shape=shape, buffer=steps)
    source.s_out.connect(convolution.s_in)
    convolution.a_out.connect(neurons.a_in)
    neurons.s_out.connect(sink.a_in)
    neurons.run(RunSteps(steps), Loihi2SimCfg(select_tag="fixed_pt"))
    events = sink.data.get()
    neurons.stop()
    return events.transpose(3, 2, 1, 0)


if __name__ == "__main__":
    given = np.load(sys.argv[1])
    events = simulate(given["changes"], given["levels"], given["bias"], int(given["vth"]))
    np.save(sys.argv[2], events)
