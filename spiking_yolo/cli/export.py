"""Write a converted network for other tools: NIR, the Neuromorphic Intermediate Representation,
JSON or safetensors.

    spiking-yolo export --weights W --method p-norm --format nir -o net.nir
    spiking-yolo export --weights W --method p-norm --format nir --explain
    spiking-yolo export --weights W --format json -o net.json
    spiking-yolo export --weights W --format safetensors -o net.safetensors

nir: for simulators and neuromorphic chips, of networks with (leaky) ReLU, average pooling, strides,
additions and concatenations, by methods with IF neurons of one spike per step (p-norm,
channel-norm, rmp, opt, fixed-fraction, spike-norm). Spikes are ones; the file's metadata say how
the input is presented and what a timestep is. Needs the extra "export". --explain lists the nodes
that NIR has no words for. json: graph, shapes, thresholds and provenance, to read. safetensors: the
file of `spiking-yolo convert`.
"""

from spiking_yolo.apps.export import ExportOptions

OPTIONS = ExportOptions


def main(options: ExportOptions) -> None:
    from spiking_yolo.apps.export.write import explain, export

    print(
        explain(options)
        if options.explain
        else f"{export(options).text()}: saved to {options.output}"
    )
