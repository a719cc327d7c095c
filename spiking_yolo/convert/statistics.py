"""Activation statistics of a network on calibration images, and their file."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from spiking_yolo.convert.histogram import BINS, Histogram
from spiking_yolo.convert.packed import pack_histograms, unpack_histograms
from spiking_yolo.errors import UserError
from spiking_yolo.graph import Graph, Node, forward
from spiking_yolo.io.assets import command
from spiking_yolo.io.images import Picture, preprocess, read_image
from spiking_yolo.io.json_text import json_text
from spiking_yolo.io.places import beside
from spiking_yolo.io.sizes import Size, size_name
from spiking_yolo.io.tensors import checksum, read_safetensors, write_safetensors
from spiking_yolo.io.typed_json import entry
from spiking_yolo.models.spec import Spec

FORMAT, OLD_FORMAT = "spiking_yolo-statistics-2", "spiking_yolo-statistics-1"


@dataclass(frozen=True)
class Statistics:
    """One histogram per activation node, and the network and images they were taken from.

    quantisers: bits -> what served the ANN best on such images; see studies/evaluate/quantised.py.
    checksum: the fingerprint, where it is known from a file.
    """

    histograms: dict[str, Histogram]
    weights_sha256: str
    imgsz: Size
    images: tuple[str, ...]
    quantisers: Mapping[int, str] = field(default_factory=dict)
    checksum: str = field(default="", compare=False, repr=False)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that thresholds are made from, which is everything but the quantisers."""
        return self.checksum or _fingerprint(*self.contents())

    def check(self, weights_sha256: str, imgsz: Size, graph: Graph) -> None:
        """Raise UserError unless these statistics belong to this network at this input size (height, width)."""
        mend = f"run `{command('calibrate')}` for this network"
        if self.weights_sha256 != weights_sha256:
            raise UserError(
                f"the statistics are of other weights ({self.weights_sha256[:12]}, not {weights_sha256[:12]}): {mend}"
            )
        if self.imgsz != tuple(imgsz):
            own, wanted = size_name(self.imgsz), size_name(imgsz)
            raise UserError(f"the statistics were taken at {own} pixels, not {wanted}: {mend} with --imgsz")
        if set(self.histograms) != {node.name for node in graph.activations}:
            raise UserError(f"the statistics name other activations than the network has: {mend}")

    def contents(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Tensors and metadata of the file."""
        metadata = {
            "format": FORMAT,
            "weights_sha256": self.weights_sha256,
            "imgsz": json_text(self.imgsz),
            "images": json_text(self.images),
            "channels": json_text({name: len(h.exponent) for name, h in self.histograms.items()}),
            "totals": json_text({name: h.total for name, h in self.histograms.items()}),
            "quantisers": json_text(self.quantisers),
        }
        return pack_histograms(list(self.histograms.values())), metadata

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, whole or not at all."""
        write_safetensors(path, *self.contents())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        metadata, tensors = read_safetensors(path)
        if metadata.get("format") not in (FORMAT, OLD_FORMAT):
            raise UserError(f"{path} is not a statistics file: make one with `{command('calibrate')}`")
        try:
            read = _histograms if metadata["format"] == FORMAT else _old_histograms
            height, width = entry(metadata, "imgsz", list[int])
            quantisers = entry({"quantisers": "{}", **metadata}, "quantisers", dict[str, str])
            images = tuple(entry(metadata, "images", list[str]))
            chosen = {int(bits): name for bits, name in quantisers.items()}
            histograms, digest = read(metadata, tensors), _fingerprint(tensors, metadata)
            return cls(histograms, metadata["weights_sha256"], (height, width), images, chosen, digest)
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            raise UserError(
                f"{path} is damaged or of another version ({error}): make it again with `{command('calibrate')}`"
            ) from error


def _fingerprint(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    return checksum({key: value for key, value in metadata.items() if key != "quantisers"}, tensors)


def _histograms(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Histogram]:
    totals, channels = (entry(metadata, key, dict[str, int]) for key in ("totals", "channels"))
    histograms = unpack_histograms(tensors, [channels[name] for name in totals], list(totals.values()))
    return dict(zip(totals, histograms, strict=True))


def _old_histograms(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Histogram]:
    """Those of files of 0.1.0, which hold every count as int32."""
    histograms = {}
    for name, total in entry(metadata, "totals", dict[str, int]).items():
        counts, exponent, low, high = (tensors[f"{name}.{k}"] for k in ("counts", "exponent", "minimum", "maximum"))
        if counts.shape != (2, len(exponent), BINS):
            raise ValueError(f"{name} has {counts.shape[-1]} bins, not {BINS}")
        histograms[name] = Histogram(counts.long(), exponent.long(), low.double(), high.double(), total)
    return histograms


@torch.no_grad()
def observe(graph: Graph, batches: Iterable[Tensor]) -> dict[str, Histogram]:
    """Histograms of the pre-activations of every activation node over batches of images [N, C, H, W]."""
    if not graph.activations:
        raise UserError("the network has no activation, such as ReLU, where neurons could spike: give another one")
    histograms: dict[str, Histogram] = {}

    def tap(node: Node, before: Tensor, after: Tensor) -> None:
        if not before.float().isfinite().all():
            raise UserError(f"the input of node {node.name!r} is not finite: the weights are damaged, fetch them again")
        if node.name not in histograms:
            histograms[node.name] = Histogram.empty(before.shape[1])
        histograms[node.name].update(before.cpu())

    for batch in batches:
        forward(graph, batch, tap)
    if not histograms:
        raise UserError("there is nothing to calibrate on: give at least one image")
    return histograms


def take_statistics(
    graph: Graph, spec: Spec, weights_sha256: str, pictures: Iterable[str | Picture]
) -> tuple[Statistics, list[str]]:
    """Statistics of a network over images or image files, and one line per image that was skipped."""
    used: list[str] = []
    skipped: list[str] = []

    def batches() -> Iterator[Tensor]:
        waiting: list[Tensor] = []
        for picture in pictures:
            name, source = Picture.file(picture) if isinstance(picture, str) else picture
            try:
                x, _ = preprocess(read_image(source), spec)
            except UserError as error:
                skipped.append(str(error))
                continue
            used.append(name)
            waiting.append(x)
            if len(waiting) == spec.images_at_once:
                yield torch.stack(waiting)
                waiting.clear()
        if waiting:
            yield torch.stack(waiting)
        if not used:
            raise UserError(f"no image to calibrate on: {skipped[0] if skipped else 'give at least one'}")

    histograms = observe(graph, batches())
    return Statistics(histograms, weights_sha256, (spec.height, spec.width), tuple(used)), skipped


def preprocessed(pictures: Sequence[Picture], spec: Spec) -> Sequence[Tensor]:
    """Batches of images as the network takes them, [N, C, H, W], of spec.images_at_once."""
    images = torch.stack([preprocess(read_image(picture.source), spec)[0] for picture in pictures])
    return images.split(spec.images_at_once)


def statistics_path(weights: Path, imgsz: Size) -> Path:
    """Path of the statistics of a weights file: `beside` it, named by the input size."""
    return beside(weights, f"{weights.stem}.{size_name(imgsz)}.statistics.safetensors")
