"""Networks with SiLU: which methods can convert them."""

from pathlib import Path

from spiking_yolo.convert.registry import list_methods
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph
from spiking_yolo.io.assets import command
from spiking_yolo.recipe import Recipe
from spiking_yolo.snn.neurons.kinds import KINDS

YAML = Path(__file__).parents[1] / "models" / "yolov8n-relu.yaml"


def check_silu(graph: Graph, recipe: Recipe) -> None:
    """Raise UserError, with the ways out, when the recipe's neurons cannot follow a SiLU of the graph."""
    silus = [node.name for node in graph.activations if node.phi.silu]
    if not silus or "silu" in KINDS[recipe.neuron.kind].follows:
        return
    able = [name for name, method in list_methods().items() if "silu" in KINDS[method.recipe.neuron.kind].follows]
    raise UserError(
        f"node {silus[0]!r} (SiLU) needs neurons that follow the sum of their input, which those of {recipe.name} do "
        f"not: use --method {', '.join(able)}; or fine-tune the network with ReLU, as Ultralytics does by `yolo detect "
        f"train model={YAML} pretrained=WEIGHTS.pt data=DATA.yaml imgsz=640`, and take its statistics by "
        f"`{command('calibrate')} --weights runs/detect/train/weights/best.pt --images DIR`"
    )
