"""List the networks that work: input size, accuracy as ANN and as spiking network, licence, and
where files come from; or fetch one.
"""

from dataclasses import dataclass

from spiking_yolo.arguments import Options
from spiking_yolo.models.zoo import get, zoo_text


@dataclass(frozen=True, kw_only=True)
class ZooOptions(Options):
    """What to fetch, and from where."""

    get: str | None = None
    """Fetch the files of the network of this name."""
    release: str | None = None
    """Address or folder to fetch from (default: the project's repository, this version)."""


def main(options: ZooOptions = ZooOptions()) -> None:
    """List the networks that work: input size, accuracy as ANN and as spiking network, licence, and
    where files come from; or fetch one.

    ```
    spiking-yolo zoo
    spiking-yolo detect image.jpg --weights yolo-fastest-xl
    spiking-yolo zoo --get yolo-fastest-xl
    ```

    A name of the list can be given as --weights wherever a file can. An installation holds two of
    the networks; --get fetches another with what was learned for it into the user's cache. Each
    file is checked by its SHA-256, wherever it comes from.
    """
    if options.get is None:
        print(zoo_text())
        return
    from spiking_yolo.apps.console import Bars

    bars = Bars()
    try:
        file = get(options.get, options.release, bars)
    finally:
        bars.close()
    print(f"{file}: give it as --weights {options.get}")
