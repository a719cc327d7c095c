"""The simulator: a graph whose activations are layers of spiking neurons, run step by step.

What a spike is worth, in the units of the ANN, is a product:

    theta       the threshold that the conversion found, per channel; folded into the weights
                that receive the spike (spikes/layout.py, synapses.py), so that it is not
                transmitted
    ratio(t)    theta(t) / theta of a neuron whose threshold adapts, else 1 (msat.py)
    q(t)        the schedule of the coding, `spike_weight`: 1 unless spikes are coarse
                and then fine (network.py)
    OFF weight  -slope * theta_off / theta for the OFF neuron of a pair, else 1 (neurons/on_off.py)

What travels is n * ratio(t) * q(t) * OFF weight, "in thetas", with n the number of spikes, which
`count` adds up.

Every step runs through the whole network, layer by layer: input -> synapses, pooling ->
neurons -> readout. network.py has this time loop, spikes/plan.py what is decided before it. Methods
whose layers send complete values in one step are not simulated: the network of whole numbers runs
them (integer/). The neurons are in neurons/, each with its state and one `step`.
"""
