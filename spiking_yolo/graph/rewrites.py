"""Graph rewrites that save work and keep results."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from spiking_yolo.graph import Graph, Node

# Operations that are linear in one map, channel by channel.
_LINEAR = ("upsample", "slice", "avg_pool", "global_avg_pool", "flatten")
# Operations that move values without changing them.
_MOVES = ("concat", "upsample", "max_pool", "slice", "pad", "flatten")


def pool_before_neuron(graph: Graph) -> Graph:
    """Move every activation behind the max pooling that is its only consumer.

    For signed memory neurons, which round phi of the summed input. Rounding and phi (except SiLU
    and softmax) are monotone, so the final value is the same, and behind a 2 x 2 pooling a quarter
    of the neurons remain. The activation keeps its name and with it its threshold. One that reads a
    sum of maps stays: each map has a scale of its own, and maxima need one.
    """
    users = graph.consumers()
    # Pooling -> the activation that moves behind it.
    behind: dict[str, str] = {}
    for node in graph.activations:
        readers = users[node.name]
        alone = len(readers) == 1 and node.name not in graph.outputs
        adds = graph[node.inputs[0]].op == "add"
        if alone and readers[0].op == "max_pool" and node.phi.monotone and not adds:
            behind[readers[0].name] = node.name
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name in behind:
            activation = graph[behind[node.name]]
            nodes.append(replace(node, inputs=renamed(activation.inputs, behind)))
            nodes.append(replace(activation, inputs=(node.name,)))
        elif node.name not in behind.values():
            nodes.append(replace(node, inputs=renamed(node.inputs, behind)))
    return replace(graph, nodes=tuple(nodes), outputs=renamed(graph.outputs, behind))


def distribute_sums(graph: Graph, sizes: Mapping[str, torch.Size]) -> Graph:
    """Let weighted layers read the terms of a sum instead of the sum.

    W (a + b) = W a + W b: a convolution that reads a sum of two feature maps, alone or among others
    that are joined, reads both with the same weights. What it reads twice it reads once, with the
    sum of the weights. Where each map has a scale of its own, only so are sums of scaled whole
    numbers exact. Sums that neurons read stay. A convolution of groups becomes a sum of such.

    sizes: Shape of every node's output, [N, C, ...].
    """
    nodes: list[Node] = []
    tensors = dict(graph.tensors)
    widths = {name: size[1] for name, size in sizes.items()}
    for node in graph.nodes:
        pieces: list[list[str]] = []
        made: dict[str, Node] = {}
        if node.weighted:
            pieces = _pieces(graph, node.inputs[0], widths, made)
            known = {one.name for one in nodes}
            nodes += [one for one in made.values() if one.name not in known]
        reads_sums = made or any(len(piece) > 1 for piece in pieces)
        if reads_sums and node.attrs.get("groups", 1) > 1:
            nodes += _grouped_by_terms(node, pieces, widths, tensors)
            continue
        if reads_sums:
            name = f"{node.name}.weight"
            parts = tensors[name].split([widths[piece[0]] for piece in pieces], 1)
            weights: dict[str, Tensor] = {}
            for piece, weight in zip(pieces, parts, strict=True):
                for term in piece:
                    weights[term] = weights[term] + weight if term in weights else weight
            tensors[name] = torch.cat(list(weights.values()), 1)
            joined = Node(f"{node.name}_terms", "concat", tuple(weights))
            nodes.append(joined)
            node = replace(node, inputs=(joined.name,))
        nodes.append(node)
    neurons = [node.name for node in graph.activations]
    needed = replace(graph, nodes=tuple(nodes), tensors=tensors).up_to(*graph.outputs, *neurons)
    return replace(needed, outputs=graph.outputs)


def _grouped_by_terms(
    node: Node, pieces: list[list[str]], widths: Mapping[str, int], tensors: dict[str, Tensor]
) -> list[Node]:
    """A convolution of groups, of whose joined maps some are sums, as the sum of one per term.

    Its groups cannot read several terms, as those of other convolutions do. Weights of maps that
    have fewer terms are 0 in the convolutions of further ones. New weights are added to `tensors`.
    """
    weight, groups = tensors[f"{node.name}.weight"], node.attrs["groups"]
    nodes: list[Node] = []
    names: list[str] = []
    most = max(map(len, pieces))
    for k in range(most):
        name = f"{node.name}_term{k}" if most > 1 else node.name
        read = tuple([piece[min(k, len(piece) - 1)] for piece in pieces])
        counts = torch.cat([torch.full((widths[piece[0]],), k < len(piece)) for piece in pieces])
        mask = counts.reshape(groups, 1, -1, 1, 1).to(weight)
        tensors[f"{name}.weight"] = (weight.unflatten(0, (groups, -1)) * mask).flatten(0, 1)
        nodes.append(Node(f"{name}_inputs", "concat", read))
        nodes.append(replace(node, name=name, inputs=(f"{name}_inputs",)))
        names.append(name)
    if f"{node.name}.bias" in tensors:
        tensors[f"{names[0]}.bias"] = tensors[f"{node.name}.bias"]
    total = names[0]
    for name in names[1:]:
        both = node.name if name == names[-1] else f"{name}_sum"
        nodes.append(Node(both, "add", (total, name)))
        total = both
    return nodes


def _pieces(
    graph: Graph, name: str, widths: dict[str, int], made: dict[str, Node]
) -> list[list[str]]:
    """The maps that are joined in a node, each as the maps whose sum it is.

    What moves a sum moves its terms; the nodes that do so are added to `made`, and to `widths`.
    """
    node = graph[name]
    if node.op == "concat":
        return [piece for one in node.inputs for piece in _pieces(graph, one, widths, made)]
    if node.op not in _LINEAR:
        return [terms(graph, name)]
    sources = _pieces(graph, node.inputs[0], widths, made)
    if all(len(piece) == 1 for piece in sources):
        return [[name]]
    pieces: list[list[str]] = []
    first = 0
    for piece in sources:
        width = widths[piece[0]]
        attrs, prefix = dict(node.attrs), name
        if node.op == "flatten":
            width *= widths[name] // widths[node.inputs[0]]
        if node.op == "slice":
            chosen = range(widths[node.inputs[0]])[slice(*attrs["slices"][0])]
            own = [k - first for k in chosen if first <= k < first + width]
            first += width
            if not own:
                continue
            attrs["slices"] = [[own[0], own[-1] + 1, chosen.step], *attrs["slices"][1:]]
            width, prefix = len(own), f"{name}_{own[0]}_{own[-1]}"
        moved: list[str] = []
        for term in piece:
            one = Node(f"{prefix}_of_{term}", node.op, (term,), attrs)
            made[one.name], widths[one.name] = one, width
            moved.append(one.name)
        pieces.append(moved)
    return pieces


def terms(graph: Graph, name: str) -> list[str]:
    """The maps whose sum a node is: itself, unless it adds."""
    node = graph[name]
    if node.op != "add":
        return [name]
    return [term for source in node.inputs for term in terms(graph, source)]


def renamed(names: Iterable[str], others: Mapping[str, str]) -> tuple[str, ...]:
    """Names of nodes, where others take the place of some."""
    return tuple([others.get(name, name) for name in names])


def with_identities(graph: Graph) -> Graph:
    """Insert neurons with the identity as activation where a weighted layer reads analogue values.

    A convolution without activation, as in linear bottlenecks and between shortcuts, would hand
    analogue values to the next one, or to a product of attention. A neuron of the identity, which
    is leaky ReLU of slope 1, sends them as spikes of both signs. It stands behind the sum that the
    layer reads, but before operations that only move values, so that joined maps are not sent
    twice. Only the image and the outputs stay analogue.
    """
    analogue = analogue_nodes(graph)
    identities: dict[str, str] = {}
    names: list[str] = []
    for node in graph.layers:
        names += node.inputs
    while names:
        node = graph[names.pop()]
        if node.name not in analogue:
            continue
        if node.op in _MOVES:
            names += node.inputs
        else:
            identities[node.name] = f"{node.name}_identity"
    if not identities:
        return graph
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.append(replace(node, inputs=renamed(node.inputs, identities)))
        if node.name in identities:
            nodes.append(Node(identities[node.name], "activation", (node.name,), {"slope": 1.0}))
    return replace(graph, nodes=tuple(nodes))


def analogue_nodes(graph: Graph) -> set[str]:
    """Nodes whose value does not come from neurons, except those computed from the image alone."""
    image: set[str] = set()
    analogue: set[str] = set()
    for node in graph.nodes:
        if node.multiplies:
            analogue.add(node.name)
        elif node.op != "activation":
            if image.issuperset(node.inputs):
                image.add(node.name)
            elif not (analogue | image).isdisjoint(node.inputs):
                analogue.add(node.name)
    return analogue


def product_sources(graph: Graph) -> set[str]:
    """The activations whose values enter products of feature maps, directly or moved."""
    sources: set[str] = set()
    names: list[str] = []
    for node in graph.nodes:
        if node.product:
            names += node.inputs
    while names:
        node = graph[names.pop()]
        if node.op == "activation":
            sources.add(node.name)
        else:
            names += node.inputs
    return sources


def constant_nodes(graph: Graph) -> set[str]:
    """Nodes whose value is the same in every step of rate coding, and can be computed once.

    Max pooling of a constant current is one of them: the maximum of t * z is t * max(z).
    """
    constant: set[str] = set()
    for node in graph.nodes:
        if node.op != "activation" and constant.issuperset(node.inputs):
            constant.add(node.name)
    return constant


def readout_nodes(graph: Graph) -> tuple[Node, ...]:
    """The linear nodes behind the last neurons and poolings, in graph order.

    A linear map of a mean over time is the mean of the map, so they run only where the network's
    output is read. Products of two maps are not linear in both.
    """
    # Nodes that are read by another node than those of the readout.
    others: set[str] = set()
    readout: list[Node] = []
    for node in reversed(graph.nodes):
        nonlinear = node.op in ("input", "activation", "max_pool") or node.product
        if node.name in others or nonlinear:
            others.update(node.inputs)
        else:
            readout.append(node)
    return tuple(reversed(readout))


def with_merged_weights(graph: Graph, sizes: Mapping[str, torch.Size]) -> Graph:
    """A convolution of [x, x + y] as one of [x, y]: W1 x + W2 (x + y) = (W1 + W2) x + W2 y.

    Blocks such as C2f join a map with sums in which it is contained, so that without this its
    events would be sent twice or more. Sums of analogue values stay: neurons stand behind them.

    sizes: Shape of every node's output, [N, C, ...].
    """
    if not any(_joins_repeatedly(graph, node) for node in graph.nodes):
        return graph
    analogue = analogue_nodes(graph)
    tensors = dict(graph.tensors)
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes.append(node)
        if node.op != "conv" or node.attrs["groups"] > 1:
            continue
        join = graph[node.inputs[0]]
        if not _joins_repeatedly(graph, join):
            continue
        key = f"{node.name}.weight"
        parts = tensors[key].split([sizes[name][1] for name in join.inputs], 1)
        blocks = dict(zip(join.inputs, parts, strict=True))
        merged = _unrepeated(graph, blocks, analogue)
        if merged.keys() != blocks.keys():
            joined = replace(join, name=f"{node.name}_inputs", inputs=tuple(merged))
            nodes[-1:] = [joined, replace(node, inputs=(joined.name,))]
            tensors[key] = torch.cat(list(merged.values()), 1)
    return replace(graph, nodes=tuple(nodes), tensors=tensors).up_to(*graph.outputs)


def _joins_repeatedly(graph: Graph, node: Node) -> bool:
    """Whether maps are joined of which one is a sum that contains another."""
    parts = set(node.inputs)
    if node.op != "concat" or len(parts) < len(node.inputs):
        return False
    for name in parts:
        if graph[name].op == "add" and len(parts.intersection(graph[name].inputs)) == 1:
            return True
    return False


def _unrepeated(graph: Graph, blocks: dict[str, Tensor], analogue: set[str]) -> dict[str, Tensor]:
    """Weights by the map that they receive, without sums that contain another of the maps."""
    merged = dict(blocks)
    for name in reversed(list(blocks)):
        node = graph[name]
        if node.op != "add" or not analogue.isdisjoint((name, *node.inputs)):
            continue
        for first, second in (node.inputs, node.inputs[::-1]):
            if first in merged and second not in merged:
                # The order of the maps stays, so that results do not depend on more than rounding.
                merged = {second if key == name else key: weight for key, weight in merged.items()}
                merged[first] = merged[first] + merged[second]
                break
    return merged
