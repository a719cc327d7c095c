"""List the networks that work: input size, accuracy as ANN and as spiking network, licence, and
where files come from.

    spiking-yolo zoo
    spiking-yolo detect image.jpg --weights yolo-fastest-xl

A name of the list can be given as --weights wherever a file can.
"""

from spiking_yolo.models.zoo import zoo_text
from spiking_yolo.settings import Options


def main(options: Options) -> None:
    print(zoo_text())
