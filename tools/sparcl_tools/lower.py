"""From a graph to straight-line C: the steps of one training pass, the buffers each uses, and its lines.

The planner reads which buffers are alive in which steps, the generator prints the lines. Names of C variables:
m_X the weights of layer X, w_X its window, d_X the error of its output, s_B the sum in buffer B that an error is made
from.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sparcl_mcu import ops
from sparcl_mcu.errors import SparclError
from sparcl_mcu.graph import INPUT, Node, size
from sparcl_mcu.learners import grda, lightcl
from sparcl_mcu.learners.base import Room
from sparcl_mcu.network import Network

from . import scratch
from .layout import index_bytes, is_paired, is_sparse, room_for


class LowerError(SparclError):
    """A graph whose names clash in C."""


@dataclass(frozen=True)
class Scratch:
    """A buffer of the arena before it is placed. over: a buffer it may overwrite from the front while that is read."""

    name: str
    what: str
    bytes: int
    type: str
    over: str | None = None


@dataclass(frozen=True)
class Step:
    """Part of a training pass: its C lines, and the names of the buffers it reads or writes."""

    name: str
    uses: tuple[str, ...]
    lines: tuple[str, ...]


@dataclass
class Program:
    """latent: with latent replay, from a sample to the frozen border, once for each sample. forward: from there or from
    the sample, for predictions too. learn: only when training."""

    latent: list[Step] = field(default_factory=list)
    forward: list[Step] = field(default_factory=list)
    learn: list[Step] = field(default_factory=list)
    buffers: dict[str, Scratch] = field(default_factory=dict)

    def steps(self) -> list[Step]:
        return self.latent + self.forward + self.learn


def lower(network: Network, room: Room) -> Program:
    """Steps in the order of docs/numerics.md: forward, loss, then from the last layer down."""
    return _Lowering(network, room).run()


def kernel(network: Network, node: Node) -> str:
    """The suffix of the kernels that suit a dense or convolution layer's storage."""
    if is_paired(network, node):
        return "paired"
    width = index_bytes(network.weights[node.name], node.block)
    return (f"{node.block}_i{8 * width}" if width else "full") + ("_frozen" if node.frozen else "")


class _Lowering:
    def __init__(self, network: Network, room: Room) -> None:
        self.network = network
        self.room = room
        self.graph = network.graph
        self.program = Program()
        self.entry = room.entry(self.graph)  # the tensor that forward starts at
        self.anchored = [node.name for node in lightcl.anchored(network)] if room.light_keep else []
        self.pruned = [node.name for node in grda.pruned(network)] if room.prune else []
        self.parts: dict[str, list[str]] = {}  # by tensor: C names of sums (s_...) and errors (d_...) that meet in it
        self.sum_buffer: dict[str, str] = {}  # by C name of a sum: the buffer it lies in
        self.error_buffer: dict[str, str] = {}  # by tensor: the buffer its error lies in

    def run(self) -> Program:
        # The last step, the update of the first layer that learns, reads the border. So it is held to the end of all:
        # later passes of the step and the replay buffer find the new sample's latent where it was.
        below, above = self.graph.split(self.entry)
        self.program.latent += [self._forward(node) for node in below]
        self.program.forward += [self._forward(node) for node in above]
        self._loss(self.graph.nodes[-1])
        for node in reversed(self.graph.nodes):
            if node.name in self.graph.learns:
                self._backward(node)
        return self.program

    # ---- small helpers

    def _buffer(self, name: str, what: str, size_bytes: int, c_type: str, over: str | None = None) -> str:
        if name.lower() in (taken.lower() for taken in self.program.buffers):  # they become macros in capitals
            raise LowerError(f"two buffers would be called {name!r}; rename one of the layers whose names start alike")
        self.program.buffers[name] = Scratch(name, what, size_bytes, c_type, over)
        return name

    def _at(self, buffer: str) -> str:
        return f"{buffer.upper()}(a)"

    def _values(self, tensor: str) -> str:
        return "x" if tensor in (INPUT, self.entry) else self._at(f"{tensor}_q")

    def _map_uses(self, *tensors: str) -> list[str]:
        return [f"{t}_q" for t in tensors if t != INPUT]

    def _exponent(self, tensor: str) -> str:
        scale = self.graph.scales[tensor]
        return str(self.network.exponents[scale]) if self.graph.scale_fixed(scale) else f"s->{scale}_scale.exponent"

    def _vec(self, tensor: str) -> str:
        return f"(scl_vec){{{self._values(tensor)}, {self._exponent(tensor)}}}"

    def _size(self, tensor: str) -> int:
        return size(self.graph.shapes[tensor])

    def _weights_line(self, node: Node) -> str:
        kind = "scl_depthwise" if node.op == "depthwise" else "scl_matrix"
        source = "working" if node.name in self.pruned else "layer"
        return f"const {kind} m_{node.name} = {source}_{node.name}({'' if node.frozen else 's'});"

    def _reading(self, node: Node) -> str:
        """The suffix of the kernels that read a layer's weights."""
        return kernel(self.network, node) + ("_frozen" if node.name in self.pruned else "")

    # ---- forward

    def _forward(self, node: Node) -> Step:
        name, n = node.name, self._size(node.name)
        uses, lines = self._map_uses(*node.sources), []
        if node is self.graph.nodes[-1]:
            uses.append(self._buffer("logits", "logits, int16", 2 * n, "int16_t"))
            lines.append(f"scl_output o_{name} = {{.exponent = SCL_LOGIT_EXPONENT, .logits = LOGITS(a)}};")
        else:
            uses.append(self._buffer(f"{name}_q", f"{name} outputs, int8", n, "int8_t"))
            positive = "NULL"
            if node.relu and name in self.graph.learns:
                mask = scratch.relu_mask(n)
                uses.append(self._buffer(f"{name}_positive", f"{name} ReLU mask", mask, "uint8_t"))
                positive = self._at(f"{name}_positive")
            if node.requantises:
                lines.append(
                    f"scl_output o_{name} = {{.exponent = {self._exponent(name)}, "
                    f".relu = {'true' if node.relu else 'false'}, .q = {self._at(f'{name}_q')}, "
                    f".positive = {positive}}};"
                )
        call, more = self._forward_call(node)
        if node.weighted:
            lines.append(self._weights_line(node))
        scale = self.graph.scales.get(name)
        lines.append(call)
        if scale and not self.graph.scale_fixed(scale) and node.requantises:
            lines += ["if (train) {", f"    s->{scale}_scale.saturated += o_{name}.saturated;", "}"]
        return Step(f"{name} forward", tuple(uses + more), tuple(lines))

    def _forward_call(self, node: Node) -> tuple[str, list[str]]:
        """The kernel call and the scratch it uses."""
        name, source = node.name, node.sources[0]
        if node.op == "dense":
            return f"scl_dense_forward_{self._reading(node)}(&m_{name}, {self._vec(source)}, &o_{name});", []
        if node.op == "conv2d":
            count = scratch.conv2d_forward(self.graph, node)
            tile = self._buffer(f"{name}_tile", f"{name} patches, int16", count, "int16_t")
            suffix, at = self._reading(node), self._at(tile)
            call = f"scl_conv2d_forward_{suffix}(&m_{name}, &w_{name}, {self._vec(source)}, {at}, &o_{name});"
            return call, [tile]
        if node.op == "depthwise":
            suffix = "_frozen" if node.frozen else ""
            return f"scl_depthwise_forward{suffix}(&m_{name}, &w_{name}, {self._vec(source)}, &o_{name});", []
        if node.op == "max_pool":
            index, more = "NULL", []
            if source in self.graph.learns:
                count = scratch.max_pool_index(self.graph, node)
                more = [self._buffer(f"{name}_index", f"{name} winners", count, "uint8_t")]
                index = self._at(more[0])
            return (
                f"scl_max_pool_forward(&w_{name}, {self._values(source)}, {self._at(f'{name}_q')}, {index});",
                more,
            )
        if node.op == "avg_pool":
            return (
                f"scl_avg_pool_forward(&w_{name}, {self._reciprocal(node)}, {self._vec(source)}, &o_{name});",
                [],
            )
        a, b = (self._values(s) for s in node.sources)
        return f"scl_add_forward({a}, {b}, {self._size(name)}, &o_{name});", []

    def _reciprocal(self, node: Node) -> int:
        operator = ops.OPERATORS[node.op]
        assert isinstance(operator, ops.AveragePool)
        return operator.reciprocal(node)

    # ---- backward

    def _loss(self, head: Node) -> None:
        name, n = head.name, self._size(head.name)
        v = self._buffer(f"{name}_v", f"{name} errors, int32", 4 * n, "int32_t")
        self.parts[name] = [f"s_{v}"]
        self.sum_buffer[f"s_{v}"] = v
        lines = [
            f"const scl_sum s_{v} = {{{self._at(v)}, {n}, SCL_LOSS_EXPONENT, true}};",
            f"scl_loss_grad(LOGITS(a), {n}, lesson, {self._at(v)});",
        ]
        seen = self._map_uses(*head.sources) if self.room.ids else []
        self.program.learn.append(Step("loss", ("logits", v, *seen), tuple(lines)))

    def _backward(self, node: Node) -> None:
        self._error(node)
        if self.room.slice and is_sparse(self.network, node):
            self._measure(node)
        for source in node.sources:
            if source in self.graph.learns:
                self._input_error(node, source)
        if node.weighted and not node.frozen:
            self._update(node)

    def _error(self, node: Node) -> None:
        """What meets in a layer's output becomes its error d_X."""
        name, parts, anchored = node.name, self.parts[node.name], node.name in self.anchored
        uses = [self.error_buffer[p[2:]] for p in parts if p.startswith("d_")]
        if len(parts) == 1 and uses and not node.relu and not anchored:
            self.error_buffer[name] = uses[0]
            self.program.learn.append(Step(f"{name} error", tuple(uses), (f"const scl_error d_{name} = {parts[0]};",)))
            return
        lines = []
        sums = [p for p in parts if p.startswith("s_")]
        if not sums:
            v = self._buffer(f"{name}_v", f"{name} errors, int32", 4 * self._size(name), "int32_t")
            lines.append(f"scl_sum s_{v} = {{{self._at(v)}, {self._size(name)}, 0, false}};")
            sums = [f"s_{v}"]
            self.sum_buffer[sums[0]] = v
        for part in parts:
            if part != sums[0]:
                function = "scl_sum_join" if part.startswith("s_") else "scl_sum_join_error"
                lines.append(f"{function}(&{sums[0]}, &{part});")
        if anchored:
            lines.append(f"scl_lightcl_hold(&anchors[{self.anchored.index(name)}], &s->head, a, lesson, &{sums[0]});")
            uses.append(f"{name}_q")
        uses += [self.sum_buffer[s] for s in sums]
        positive = "NULL"
        if node.relu:
            uses.append(f"{name}_positive")
            positive = self._at(f"{name}_positive")
        d = self._buffer(f"{name}_d", f"{name} errors, int8", self._size(name), "int8_t", over=self.sum_buffer[sums[0]])
        uses.append(d)
        self.error_buffer[name] = d
        lines.append(f"const scl_error d_{name} = scl_sum_close(&{sums[0]}, {positive}, {self._at(d)});")
        if node is self.graph.nodes[-1]:
            lines += [f"if (!d_{name}.any) {{", "    return false;", "}"]
        self.program.learn.append(Step(f"{name} error", tuple(uses), tuple(lines)))

    def _input_error(self, node: Node, source: str) -> None:
        parts = self.parts.setdefault(source, [])
        if node.op == "add":
            parts.append(f"d_{node.name}")
            return
        n = self._size(source)
        suffix = "_v_2" if any(p.startswith("s_") for p in parts) else "_v"
        v = self._buffer(f"{source}{suffix}", f"{source} errors, int32", 4 * n, "int32_t")
        total = f"s_{v}"
        parts.append(total)
        self.sum_buffer[total] = v
        call, raised, more = self._input_grad_call(node, self._at(v))
        lines = [self._weights_line(node)] if node.weighted else []
        lines += [
            f"scl_sum {total} = {{{self._at(v)}, {n}, d_{node.name}.e + {raised}, d_{node.name}.any}};",
            f"if (d_{node.name}.any) {{",
            f"    {call}",
            "}",
        ]
        uses = (self.error_buffer[node.name], v, *more)
        self.program.learn.append(Step(f"{node.name} input gradient", uses, tuple(lines)))

    def _input_grad_call(self, node: Node, v: str) -> tuple[str, str, list[str]]:
        """Kernel call, what it adds to the exponent, and the scratch it uses."""
        name = node.name
        d = f"(scl_vec){{d_{name}.q, d_{name}.e}}"
        if node.op == "dense":
            return f"scl_dense_input_grad_{self._reading(node)}(&m_{name}, {d}, {v});", f"m_{name}.e_w", []
        if node.op == "conv2d":
            suffix = self._reading(node)
            return f"scl_conv2d_input_grad_{suffix}(&m_{name}, &w_{name}, {d}, {v});", f"m_{name}.e_w", []
        if node.op == "depthwise":
            suffix = "_frozen" if node.frozen else ""
            return f"scl_depthwise_input_grad{suffix}(&m_{name}, &w_{name}, {d}, {v});", f"m_{name}.e_w_max", []
        if node.op == "max_pool":
            index = f"{name}_index"
            return f"scl_max_pool_input_grad(&w_{name}, d_{name}.q, {self._at(index)}, {v});", "0", [index]
        return f"scl_avg_pool_input_grad(&w_{name}, {self._reciprocal(node)}, d_{name}.q, {v});", "-15", []

    def _gradient_call(self, node: Node, verb: str, where: str, rate: str = "") -> str:
        """The kernel call that makes something of a layer's weight gradient."""
        name = node.name
        window = "" if node.op == "dense" else f"&w_{name}, "
        suffix = "" if node.op == "depthwise" else f"_{kernel(self.network, node)}"
        d = f"(scl_vec){{d_{name}.q, d_{name}.e}}"
        x = self._vec(node.sources[0])
        return f"scl_{node.op}_weight_{verb}{suffix}(&m_{name}, {window}{where}, {d}, {x}{rate});"

    def _measure(self, node: Node) -> None:
        """An importance pass goes down to the layer it measures, and no further."""
        name = node.name
        lines = (
            f"if (lesson->measure != NULL && lesson->measure->layer == {self.network.weighted().index(node)}) {{",
            f"    if (d_{name}.any) {{",
            f"        {self._weights_line(node)}",
            f"        {self._gradient_call(node, 'measure', 'lesson->measure')}",
            "    }",
            "    return true;",
            "}",
        )
        uses = (self.error_buffer[name], *self._map_uses(node.sources[0]))
        self.program.learn.append(Step(f"{name} measure", uses, lines))

    def _update(self, node: Node) -> None:
        name, source = node.name, node.sources[0]
        learns = f"d_{name}.any" + (" && lesson->measure == NULL" if self.room.slice else "")
        lines = [] if source in self.graph.learns else [self._weights_line(node)]
        lines.append(f"if ({learns}) {{")
        uses = [self.error_buffer[name], *self._map_uses(source)]
        if self.room.ewc:
            gathered, more = self._gathered(node)
            uses += more
            lines += gathered
        elif self.room.batch > 1:
            lines.append(f"    const scl_gathered to_{name} = {{s->{name}_gathered, s->{name}_bias_gathered, NULL}};")
            lines.append(f"    {self._gradient_call(node, 'gather', f'&to_{name}', ', lesson->rate')}")
        else:
            selected = self._selected(node)
            verb = "update" if selected == "NULL" else "update_selected"
            lines += [
                f"    const scl_masters to_{name} = {{s->{name}_master, s->{name}_bias, {selected}}};",
                "    if (lesson->watch != NULL) {",
                f"        {self._gradient_call(node, 'watch', f'&to_{name}, lesson->watch', ', lesson->rate')}",
                "    }",
                f"    {self._gradient_call(node, verb, f'&to_{name}', ', lesson->rate')}",
            ]
        lines.append("}")
        self.program.learn.append(Step(f"{name} update", tuple(uses), tuple(lines)))

    def _selected(self, node: Node) -> str:
        """Bits of the blocks that learn, in C."""
        return f"s->{node.name}_selected" if self.room.dgm and is_sparse(self.network, node) else "NULL"

    def _gathered(self, node: Node) -> tuple[list[str], list[str]]:
        """EWC: lines that gather a sample's gradient before masters learn it, and the scratch they use."""
        name, weights = node.name, self.network.weights[node.name]
        sum_bytes = 4 * room_for(self.network, node, self.room)
        sums = self._buffer(f"{name}_sums", f"{name} gradients, int32", sum_bytes, "int32_t")
        biases = self._buffer(f"{name}_bias_sums", f"{name} bias gradients, int32", 4 * len(weights.bias), "int32_t")
        lines = [
            f"    const scl_gathered to_{name} = {{{self._at(sums)}, {self._at(biases)}, {self._selected(node)}}};",
            f"    const scl_ewc held_{name} = ewc_{name}(s);",
            f"    memset(to_{name}.weight, 0, {sum_bytes});",
            f"    memset(to_{name}.bias, 0, {4 * len(weights.bias)});",
            f"    {self._gradient_call(node, 'gather', f'&to_{name}', ', lesson->rate')}",
        ]
        if self.room.rho:
            lines += ["    if (lesson->ascends) {", *self._ascent(node), "    } else {"]
        lines += [
            f"    scl_ewc_learn(&held_{name}, to_{name}.weight, &s->head);",
            "    if (s->head.task_open) {",
            f"        scl_apply_biases(s->{name}_bias, to_{name}.bias, {len(weights.bias)});",
            "    }",
        ]
        return [*lines, *(["    }"] if self.room.rho else [])], [sums, biases]

    def _ascent(self, node: Node) -> list[str]:
        """Sharpness: the line that takes a layer's weights in use up its gradient, if it has such weights."""
        name, weights = node.name, self.network.weights[node.name]
        if name not in self.pruned:
            return []
        where = f"s->{name}_working, s->{name}_master, to_{name}.weight"
        tau = "scl_grda_threshold(thresholds, s->head.step)"
        return [f"        scl_grda_ascend({where}, {weights.slots}, {weights.exponent}, {tau}, {self.room.rho});"]
