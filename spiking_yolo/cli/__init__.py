"""What the command-line tools share: arguments, run directories, and what happens with mistakes and Ctrl-C.

Imports nothing heavy, so that --help answers at once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from spiking_yolo.cli.listing import methods_text, settings_text
from spiking_yolo.convert.registry import DEFAULT
from spiking_yolo.errors import Notice, UserError
from spiking_yolo.io.sizes import Size, input_size

if TYPE_CHECKING:
    from spiking_yolo.convert.converted import Converted
    from spiking_yolo.models.load import Ann
    from spiking_yolo.snn.options import SimulationOptions

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "weights" / "yolov3-tiny.weights"
PRECISIONS = ("float32", "bf16")  # of snn.simulation, which imports torch
IMGSZ = "network input in pixels, 416 or HEIGHTxWIDTH (288x416): multiples of 32"


def run(main: Callable[[], int | None]) -> None:
    """Call main and exit: with what it returns, 2 and one line on stderr for a UserError, 130 after Ctrl-C.

    A Notice is one line on stderr.
    """
    other = warnings.formatwarning
    warnings.formatwarning = lambda message, category, *where: (
        f"note: {message}\n" if issubclass(category, Notice) else other(message, category, *where)
    )
    try:
        sys.exit(main() or 0)
    except UserError as error:
        print("error:", " ".join(str(error).splitlines()), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows the tool's docstring as it is written, and raises UserError for mistakes."""
    return _Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def add_network(p: argparse.ArgumentParser, choose_method: bool = True, simulates: bool = True) -> None:
    """The arguments that choose and convert a network.

    choose_method: --method is among them. simulates: so are those that say how the network is computed.
    """
    g = p.add_argument_group("network")
    add_weights(g)
    if choose_method:
        g.add_argument("--method", help=f"conversion method or recipe.json (default {DEFAULT}); see --list-methods")
    g.add_argument(
        "--set", action="append", default=[], metavar="K=V", help="change a setting of the method; see --list-settings"
    )
    g.add_argument("--statistics", type=Path, help="activation statistics, if they do not lie beside the weights")
    g.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    if simulates:
        help = "bf16: multiply spikes and weights in bfloat16; potentials stay in float32"
        g.add_argument("--precision", choices=PRECISIONS, default="float32", help=help)
        help = "fuse the arithmetic of the neurons with PyTorch's compiler; needs a C++ compiler"
        g.add_argument("--compile", action="store_true", help=help)
    g.add_argument("--list-methods", action=_Listing, text=methods_text, help="print the conversion methods and stop")
    g.add_argument("--list-settings", action=_Listing, text=settings_text, help="print the keys of --set and stop")


def add_weights(p: argparse._ActionsContainer) -> None:
    """The arguments that choose a network to convert."""
    p.add_argument("--weights", type=Path, default=WEIGHTS, help="darknet .weights, .safetensors, or Ultralytics' .pt")
    p.add_argument("--trust-weights", action="store_true", help="open a .pt, which can run code hidden in it")
    p.add_argument("--imgsz", type=image_size, help=IMGSZ)
    p.add_argument("--cfg", type=Path, help="darknet cfg, if it does not lie beside the weights")
    p.add_argument("--names", type=Path, help="class names, one per line, if they do not lie beside the weights")


def load_ann(args: argparse.Namespace) -> Ann:
    """The original network that the arguments of `add_weights` name."""
    from spiking_yolo.models.load import load_ann

    return load_ann(args.weights, args.cfg, args.names, args.imgsz, args.trust_weights)


def load_network(args: argparse.Namespace) -> Converted:
    """The converted network that the arguments of `add_network` name."""
    from spiking_yolo.convert.pipeline import load

    settings = parse_settings(args.set)
    files = {name: getattr(args, name) for name in ("cfg", "names", "statistics")}
    return load(args.weights, args.method, settings, imgsz=args.imgsz, trust=args.trust_weights, **files)


def simulation(args: argparse.Namespace) -> SimulationOptions:
    """How the network is computed by the arguments of `add_network`; a Notice says what this machine cannot do."""
    from spiking_yolo.snn.options import chosen

    return chosen(args.precision, args.compile, args.device)


def add_thresholds(p: argparse.ArgumentParser, conf: float, max_det: int) -> None:
    """The arguments that decide which boxes count."""
    p.add_argument("--conf", type=float, default=conf, help="smallest confidence (default %(default)s)")
    p.add_argument("--iou", type=float, default=0.45, help="suppress boxes that overlap more (default %(default)s)")
    p.add_argument("--max-det", type=positive, default=max_det, help="boxes per image (default %(default)s)")


def check_thresholds(args: argparse.Namespace) -> None:
    for name in ("conf", "iou"):
        if not 0 <= getattr(args, name) <= 1:
            raise UserError(f"--{name} must lie in 0..1, not {getattr(args, name)}")


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


def image_size(text: str) -> Size:
    """ "416" -> (416, 416); "288x416" -> (288, 416), height and width; for argparse."""
    try:
        return input_size(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class _Listing(argparse.Action):
    """Like --version: prints a text that is made only when asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, text: Callable[[], str], help: str):
        super().__init__(option_strings, dest, nargs=0, help=help)
        self.text = text

    def __call__(self, parser, namespace, values, option_string=None):
        print(self.text())
        parser.exit()


def parse_settings(pairs: Sequence[str]) -> dict[str, str]:
    """["neuron.gamma=4"] -> {"neuron.gamma": "4"}."""
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key or not value:
            raise UserError(f"--set takes KEY=VALUE, e.g. --set neuron.gamma=4, not {pair!r}")
        settings[key] = value
    return settings


def parse_classes(text: str | None, names: Sequence[str]) -> list[int] | None:
    """ "dog,2" -> [16, 2]: names or numbers of classes; None for all. Raises UserError for an unknown one."""
    if text is None:
        return None
    ids = []
    for part in map(str.strip, text.split(",")):
        if part in names:
            ids.append(list(names).index(part))
        elif part.isdecimal() and int(part) < len(names):
            ids.append(int(part))
        else:
            raise UserError(
                f"--classes: no class {part!r}; give numbers in 0..{len(names) - 1} or names such as {names[0]}"
            )
    return ids


def parse_steps(text: str | None, T: int | None) -> list[int]:
    """ "4,8,16" -> [4, 8, 16], sorted and distinct. Raises UserError unless 1 <= step <= T for all; T None: any T."""
    if T is not None and T < 1:
        raise UserError(f"--T must be at least 1, not {T}")
    try:
        steps = sorted({int(part) for part in text.split(",")}) if text else []
    except ValueError:
        raise UserError(f"--steps takes timesteps with commas, e.g. 4,8,16, not {text!r}") from None
    if steps and not 1 <= steps[0] <= steps[-1] <= (T or steps[-1]):
        raise UserError(f"--steps must lie in 1..{T} (--T), not {text}" if T else f"--steps start at 1, not {text}")
    return steps


def run_directory(project: Path, name: str, exist_ok: bool = False) -> Path:
    """PROJECT/NAME, or PROJECT/NAME2, NAME3, ... when it exists already. Not created yet.

    Raises UserError when nothing can be written there, before any work is done for it.
    """
    if not name:
        raise UserError("--name must not be empty: give a name for the run directory, or leave it out")
    path, k = project / name, 2
    while path.exists() and not exist_ok:
        path, k = project / f"{name}{k}", k + 1
    ground = next(p for p in (path, *path.absolute().parents) if p.exists())
    try:
        tempfile.TemporaryFile(dir=ground).close()
    except OSError as error:
        raise UserError(f"cannot write in {ground}: {error.strerror}; give another --project") from error
    return path
