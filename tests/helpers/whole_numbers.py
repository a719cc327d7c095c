"""A network of whole numbers once more, in numpy's int64: sums are exact by construction."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spiking_yolo.convert.load import Converted
from spiking_yolo.graph import Node
from spiking_yolo.integer.neuron import curve, softmax
from spiking_yolo.spikes.plan import NetworkPlan

Array = NDArray[Any]
F32 = np.float32


def digits(n: Array) -> Array:
    """Digits that are not 0 of the non-adjacent form, one after the other."""
    count, n = np.zeros_like(n), n.copy()
    while n.any():
        digit = np.where(n % 2 == 1, 2 - n % 4, 0)
        count, n = count + np.abs(digit), (n - digit) // 2
    return count


def more_digits(last: int) -> int:
    """Digits of n + 1 less those of n, for n mod 16; 0 where higher bits decide."""
    n = np.arange(last, 1024, 16)
    changes = set((digits(n + 1) - digits(n)).tolist())
    return changes.pop() if len(changes) == 1 else 0


MORE = np.array([more_digits(last) for last in range(16)])


@dataclass
class Term:
    """n * scale + bias in values of the ANN; at rest, n = 0, 256 bias = parts * scale.

    counts: events of each value, [3, ...]; None of analogue values.
    """

    n: Array
    scale: Array
    bias: Array
    parts: Array
    counts: Array | None

    def moved(self, move: Any) -> "Term":
        """Values and events elsewhere. move: of [N, C, ...]."""
        counts = self.counts
        if counts is not None:
            counts = np.stack([move(count) for count in counts])
        return replace(self, n=move(self.n), counts=counts)


def per_channel(values: Array, like: Array) -> Array:
    return values.reshape(-1, *[1] * (like.ndim - 2))


def windows(x: Array, kernel: Any, stride: Any, padding: Any, ceil: bool, fill: int) -> Array:
    """[..., kh * kw] of a map [N, C, H, W]; padding: left, right, top, bottom."""
    left, right, top, bottom = padding
    if ceil:
        right, bottom = right + stride[1] - 1, bottom + stride[0] - 1
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, tuple(kernel), (2, 3))
    return view[:, :, :: stride[0], :: stride[1]].reshape(
        *view[:, :, :: stride[0], :: stride[1]].shape[:4], -1
    )


def convolve(x: Array, w: Array, a: Mapping[str, Any]) -> Array:
    """[N, in, H, W] * [out, in / groups, kh, kw], or [N, in] * [out, in]."""
    if w.ndim == 2:
        return x @ w.T
    (ph, pw), (sh, sw), (dh, dw) = a["padding"], a["stride"], a["dilation"]
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    kh, kw = w.shape[2:]
    size = [(x.shape[2] - dh * (kh - 1) - 1) // sh + 1, (x.shape[3] - dw * (kw - 1) - 1) // sw + 1]
    groups = a["groups"]
    total = np.zeros((len(x), len(w), *size), x.dtype)
    for i in range(kh):
        for j in range(kw):
            rows = slice(i * dh, i * dh + (size[0] - 1) * sh + 1, sh)
            tap = x[:, :, rows, j * dw : j * dw + (size[1] - 1) * sw + 1 : sw]
            for g in range(groups):
                ins, outs = w.shape[1], len(w) // groups
                part = tap[:, g * ins : (g + 1) * ins]
                each = slice(g * outs, (g + 1) * outs)
                total[:, each] += np.einsum("nihw,oi->nohw", part, w[each, :, i, j])
    return total


class WholeNumbers:
    """A converted network: frame(x) -> outputs, sent, counts and operations by name.

    The values of a node are pieces, whose channels are joined, each a sum of terms.
    """

    def __init__(self, converted: Converted):
        self.graph = NetworkPlan(converted.graph, converted.recipe).graph
        self.neurons, self.settings = converted.neurons, converted.recipe.neuron
        self.spec = converted.spec

    def frame(
        self,
        x: Array,
        before: Mapping[str, Array] | None = None,
        dead_zone: float = 0.0,
        lossless: bool = False,
    ) -> "WholeNumbers":
        """x: Images as the ANN takes them."""
        self.before, self.dead_zone, self.lossless = before or {}, dead_zone, lossless
        self.sent: dict[str, Array] = {}
        self.counts: dict[str, Array] = {}
        self.operations: dict[str, Array] = {}
        values: dict[str, list[list[Term]]] = {}
        for node in self.graph.nodes:
            given = [values[name] for name in node.inputs]
            if node.op == "input":
                mean, std = (np.array(v)[:, None, None] for v in (self.spec.mean, self.spec.std))
                n = np.rint((x * std + mean) * 255).clip(0, 255) - np.rint(255 * mean)
                nothing = np.zeros(3)
                scale = 1 / (255 * np.array(self.spec.std))
                values[node.name] = [
                    [Term(n.astype(int), scale, nothing, nothing.astype(int), None)]
                ]
                continue
            values[node.name] = getattr(self, node.op, self.moved)(node, *given)
        self.outputs: list[Array] = []
        for name in self.graph.outputs:
            correction = None
            if self.graph[name].op != "activation" and "bias" in self.neurons.get(name, {}):
                correction = self.neurons[name]["bias"].double().numpy()
            self.outputs.append(self.head(name, values, correction))
        return self

    def conv(self, node: Node, pieces: list[list[Term]]) -> list[list[Term]]:
        """The sums of a layer; of groups those of each term that it reads."""
        weight, bias = (
            t.double().numpy() if t is not None else None for t in self.graph.parameters(node)
        )
        groups = node.attrs.get("groups", 1)
        if groups == 1:
            return [[self._sums(node, weight, bias, pieces)]]
        sums: list[Term] = []
        for k in range(max(map(len, pieces))):
            own = np.concatenate([np.full(len(piece[0].scale), k < len(piece)) for piece in pieces])
            read = joined([[piece[min(k, len(piece) - 1)]] for piece in pieces])
            if read.counts is not None:
                read = replace(read, counts=read.counts * own[:, None, None])
            mask = np.repeat(own.reshape(groups, -1), len(weight) // groups, 0)[..., None, None]
            sums.append(self._sums(node, weight * mask, None if k else bias, [[read]]))
        return [sums]

    def _sums(self, node: Node, weight: Any, bias: Any, pieces: list[list[Term]]) -> Term:
        """Levels of 8 bits with a step per output, of weights times the scales of what arrives."""
        a = {"groups": 1, **node.attrs}
        outs = len(weight) // a["groups"]
        terms: list[tuple[Term, Array]] = []
        spent, analogue = np.zeros((3, len(pieces[0][0].n))), False
        start = 0
        for piece in pieces:
            features = piece[0].n.shape[1]
            part = weight if len(pieces) == 1 else weight[:, start : start + features]
            start += features
            for term in piece:
                each = part[0].shape[0] * a["groups"] // len(term.scale)
                scale = np.repeat(term.scale, each).reshape(a["groups"], part.shape[1])
                scale = np.repeat(scale, outs, 0).reshape(*part.shape[:2], *[1] * (part.ndim - 2))
                if term.counts is None:
                    analogue = True
                else:
                    reached = [convolve(c, np.ones_like(part, int), a) for c in term.counts]
                    spent += [r.reshape(len(r), -1).sum(1) for r in reached]
                same = [w for other, w in terms if other is term]
                if same:
                    # What is read twice is read once.
                    same[0] += part * scale
                else:
                    terms.append((term, part * scale))
        step = np.max([np.abs(w).reshape(len(w), -1).max(1) for _, w in terms], 0) / 127
        step[step == 0] = 1
        total: Array = np.zeros(1, int)
        lacking = full = np.zeros(1, int)
        for term, w in terms:
            levels = np.rint(w / per_channel(step, w[None])).astype(int)
            total = total + convolve(term.n, levels, a)
            parts = term.parts
            if w.ndim == 2:
                parts = np.repeat(parts, w.shape[1] // len(parts))
            shape = (1, len(parts), *term.n.shape[2:])
            everywhere = np.broadcast_to(parts.reshape(1, -1, *[1] * (w.ndim - 2)), shape)
            inside = np.repeat(parts.reshape(a["groups"], -1), outs, 0)
            inside = (
                (inside.reshape(*w.shape[:2], *[1] * (w.ndim - 2)) * levels)
                .reshape(len(w), -1)
                .sum(1)
            )
            full = full + inside
            lacking = lacking + convolve(everywhere, levels, a) - per_channel(inside, term.n)
        if not analogue:
            self.operations[node.name] = self.operations.get(node.name, 0) + spent
        known = full / 256 * step
        if bias is not None:
            known = known + bias
        total = total + np.rint(lacking / 256).astype(int)
        return Term(total, step, known, np.zeros(len(step), int), None)

    linear = conv

    def add(self, node: Node, left: list[list[Term]], right: list[list[Term]]) -> list[list[Term]]:
        (one,), (other,) = left, right
        return [[*one, *other]]

    def concat(self, node: Node, *given: list[list[Term]]) -> list[list[Term]]:
        return [piece for pieces in given for piece in pieces]

    def attention_scores(self, node: Node, q: Any, k: Any) -> list[list[Term]]:
        heads, areas = node.attrs["heads"], node.attrs["areas"]
        ((q,),), ((k,),) = q, k
        a, b = (t.n.reshape(len(t.n), heads, -1, areas, t.n[0, 0].size // areas) for t in (q, k))
        n = np.einsum("nhdai,nhdaj->nhaij", a, b).reshape(len(a), heads, -1, a.shape[4])
        each = len(q.scale) // heads
        # Keys are stored in a first frame.
        self._product(node, q, k, a.shape[4], a.shape[4])
        nothing = np.zeros(heads)
        return [[Term(n, q.scale[::each] * k.scale[::each], nothing, nothing.astype(int), None)]]

    def attend(self, node: Node, weights: Any, v: Any) -> list[list[Term]]:
        heads, areas = node.attrs["heads"], node.attrs["areas"]
        ((w,),), ((v,),) = weights, v
        by_area = v.n.reshape(len(v.n), heads, -1, areas, v.n[0, 0].size // areas)
        tokens = by_area.shape[4]
        rows = w.n.reshape(len(w.n), heads, areas, tokens, tokens)
        n = np.einsum("nhaij,nhdaj->nhdai", rows, by_area).reshape(v.n.shape)
        self._product(node, w, v, by_area.shape[2], tokens)
        scale = np.repeat(w.scale, by_area.shape[2]) * v.scale
        return [[Term(n, scale, 0 * scale, np.zeros(len(scale), int), None)]]

    def _product(self, node: Node, left: Term, right: Term, of_left: int, of_right: int) -> None:
        spent = left.counts.reshape(3, len(left.n), -1).sum(2) * of_left
        if self.before:
            spent = spent + right.counts.reshape(3, len(right.n), -1).sum(2) * of_right
        self.operations[node.name] = spent

    def moved(self, node: Node, pieces: list[list[Term]]) -> list[list[Term]]:
        """Pooling, upsampling, slices and flattening of one map."""
        a = node.attrs
        if any(len(piece) > 1 for piece in pieces) and node.op == "slice":
            channels = [len(piece[0].scale) for piece in pieces]
            chosen = np.arange(sum(channels))[slice(*a["slices"][0])]
            found: list[list[Term]] = []
            for piece, first, width in zip(
                pieces, np.cumsum([0, *channels[:-1]]), channels, strict=True
            ):
                own = chosen[(chosen >= first) & (chosen < first + width)] - first
                if len(own):
                    found.append([part_of(term, (own,)) for term in piece])
            return found
        if any(len(piece) > 1 for piece in pieces):
            return [[self.moved(node, [[term]])[0][0] for term in piece] for piece in pieces]
        term = joined(pieces)
        if node.op == "max_pool":
            sides = [a["kernel"], a["stride"], a["padding"], a["ceil"]]
            result = replace(term, n=windows(term.n, *sides, fill=-(2**40)).max(-1))
            if term.counts is not None:
                result.counts = self.sends(node.name, result.n)
            return [[result]]
        if node.op in ("avg_pool", "global_avg_pool"):
            kernel = term.n.shape[2:] if node.op != "avg_pool" else a["kernel"]
            assert not any(a.get("padding", ()))
            sides = [kernel, a.get("stride", kernel), (0, 0, 0, 0), a.get("ceil", False)]
            area = int(np.prod(kernel))
            result = term.moved(lambda x: windows(x, *sides, fill=0).sum(-1))
            return [[replace(result, scale=term.scale / area, parts=term.parts * area)]]
        if node.op == "upsample":
            high, wide = map(int, np.broadcast_to(a["scale"], 2))
            return [[term.moved(lambda x: x.repeat(high, 2).repeat(wide, 3))]]
        if node.op == "flatten":
            flat = term.moved(lambda x: x.reshape(len(x), -1))
            each = flat.n.shape[1] // len(term.scale)
            own = {key: np.repeat(getattr(term, key), each) for key in ("scale", "bias", "parts")}
            return [[replace(flat, **own)]]
        assert node.op == "slice"
        return [[part_of(term, tuple([slice(*each) for each in a["slices"]]))]]

    def activation(self, node: Node, pieces: list[list[Term]]) -> list[list[Term]]:
        """One multiplication and one addition in float32, phi, and rounding."""
        (terms,), own, phi = pieces, self.neurons[node.name], node.phi
        channels = terms[0].n.shape[1]
        values = {"bias": np.zeros(1), "rest": np.zeros(1)}
        values |= {key: value.double().numpy() for key, value in own.items()}
        theta, rest = (np.broadcast_to(values[k], channels) for k in ("theta", "rest"))
        for reader in self.graph.nodes:
            if reader.op == "attention_scores" and node.name in reader.inputs:
                heads = theta.reshape(reader.attrs["heads"], -1)
                theta = np.broadcast_to(heads.max(1, keepdims=True), heads.shape).flatten()
        bias = sum((term.bias for term in terms), values["bias"])
        unit = theta if phi.monotone else np.ones(channels)
        v: Any = 0
        for k, term in enumerate(terms):
            scaled = term.n.astype(F32) * per_channel((term.scale / unit).astype(F32), term.n)
            v = v + scaled if k else scaled
        v = v + per_channel((bias / unit).astype(F32), v)
        if not phi.monotone:
            if phi.softmax:
                v = softmax(torch.from_numpy(v)).numpy()
            else:
                v = curve(torch.from_numpy(v), phi).numpy()
            v = v * per_channel((1 / theta).astype(F32), v)
        else:
            v = np.where(v > 0, v, v * F32(phi.slope))
            if phi.cap is not None:
                v = np.minimum(v, per_channel((phi.cap / theta).astype(F32), v))
        offset = (np.broadcast_to(values["initial"], channels) - 0.5 - rest).astype(F32)
        n = self.fire(node.name, v, per_channel(offset, v))
        counts = self.sends(node.name, n)
        return [[Term(n, theta, rest * theta, np.rint(256 * rest).astype(int), counts)]]

    def fire(self, name: str, v: Array, offset: Array) -> Array:
        """k by the rule of the neuron."""
        if self.settings.kind != "sigma-delta":
            size = np.floor(np.abs(v) + (offset + F32(0.5))).clip(None, self.settings.gamma)
            return (size * np.sign(v)).astype(int)
        old = np.zeros((), int) if self.lossless else self.before.get(name, np.zeros((), int))
        due = v + offset - old.astype(F32)
        low = np.floor(due)
        cut = F32(0.5) + F32(self.settings.slack) * MORE[low.astype(int) % 16].astype(F32)
        change = low.astype(int) + (due - low >= cut)
        if self.before and self.dead_zone:
            change = change * (np.abs(due) >= F32(0.5 + self.dead_zone))
        return (old + change).clip(-127, 127)

    def sends(self, name: str, n: Array) -> Array:
        """The events of a sender, in each counting."""
        self.sent[name] = n
        size = np.abs(n - self.before.get(name, 0))
        binary = self.settings.kind == "few-spikes"
        ones = (
            np.vectorize(lambda n: int(n).bit_count(), otypes=[int])(size)
            if binary
            else digits(size)
        )
        self.counts[name] = np.stack([size, ones, size > 0]).astype(int)
        return self.counts[name]

    def head(self, name: str, values: Any, correction: Array | None = None) -> Array:
        """An output in float32, or a term of it, which is not corrected."""
        node = self.graph[name]
        if node.op == "add":
            left, right = (self.head(source, values) for source in node.inputs)
            y = left + right
            return y if correction is None else y + per_channel(correction.astype(F32), y)
        term = joined(values[name])
        bias = term.bias if correction is None else term.bias + correction
        n = term.n.astype(F32)
        return n * per_channel(term.scale.astype(F32), n) + per_channel(bias.astype(F32), n)


def part_of(term: Term, part: tuple[Any, ...]) -> Term:
    """Some of its channels, rows and columns."""
    own = {key: getattr(term, key)[part[0]] for key in ("scale", "bias", "parts")}
    return replace(term.moved(lambda x: x[(slice(None), *part)]), **own)


def joined(pieces: list[list[Term]]) -> Term:
    """The pieces as one."""
    terms = [term for (term,) in pieces]
    own = {k: np.concatenate([getattr(t, k) for t in terms]) for k in ("scale", "bias", "parts")}
    counts = None
    if all(term.counts is not None for term in terms):
        counts = np.concatenate([term.counts for term in terms], 2)
    return Term(np.concatenate([term.n for term in terms], 1), **own, counts=counts)
