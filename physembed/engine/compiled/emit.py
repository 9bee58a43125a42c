"""Building blocks for kernels: a thin layer over the builder of LLVM's intermediate representation.

A kernel is a function of a table of addresses and numbers (`slots`), a range of atoms, systems or groups, and scratch
memory. Vectors have as many lanes as a register of the machine, so the vector width is decided here and does not depend
on how a compiler treats a loop. No operation may assume that numbers are finite.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llvmlite import ir

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


class Kernel:
    """A function under construction.

    Args:
        module: module to which it is added.
        name: name of the function.
        double: whether reals have 64 bits (otherwise 32).
        lanes: lanes per vector, a power of 2.
        slots: names of the entries of the table, in order.
    """

    def __init__(self, module: ir.Module, name: str, double: bool, lanes: int, slots: Sequence[str]) -> None:
        self.module, self.lanes, self.double = module, lanes, double
        self.real: ir.Type = ir.DoubleType() if double else ir.FloatType()
        self.vector, self.ivector = ir.VectorType(self.real, lanes), ir.VectorType(I32, lanes)
        self.size = 8 if double else 4
        kind = ir.FunctionType(ir.VoidType(), [I64.as_pointer(), I64, I64, I64])
        self.function = ir.Function(module, kind, name)
        for attribute in ("nounwind", "noinline"):
            self.function.attributes.add(attribute)
        # Loops must not be replaced by library calls: the object is loaded without a linker.
        self.function.attributes._known = self.function.attributes._known | {'"no-builtins"'}
        self.function.attributes.add('"no-builtins"')
        self._entry = self.function.append_basic_block("entry")
        self.b = ir.IRBuilder(self.function.append_basic_block("body"))
        self._body = self.b.block
        self._in_entry = ir.IRBuilder(self._entry)
        self.table, self.begin, self.end, self.scratch_address = self.function.args
        self._slots = {slot: index for index, slot in enumerate(slots)}
        self._loaded: dict[tuple[str, str], Any] = {}

    def done(self) -> None:
        """Finish the function."""
        self.b.ret_void()
        self._in_entry.branch(self._body)

    # --- the table ---

    def slot(self, name: str) -> Any:
        """The i64 in a slot, read once on entry."""
        key = (name, "i64")
        if key not in self._loaded:
            place = self._in_entry.gep(self.table, [I64(self._slots[name])])
            self._loaded[key] = self._in_entry.load(place)
        return self._loaded[key]

    def set_slot(self, name: str, value: Any) -> None:
        """Write a slot, for functions that are called afterwards."""
        self.b.store(value, self.b.gep(self.table, [I64(self._slots[name])]))

    def pointer(self, name: str, kind: ir.Type | None = None) -> Any:
        """Pointer to reals (or another type) whose address is in a slot."""
        kind = kind or self.real
        key = (name, str(kind))
        if key not in self._loaded:
            self._loaded[key] = self._in_entry.inttoptr(self.slot(name), kind.as_pointer())
        return self._loaded[key]

    def number(self, name: str) -> Any:
        """The double whose bits are in a slot, as a real."""
        key = (name, "real")
        if key not in self._loaded:
            value = self._in_entry.bitcast(self.slot(name), ir.DoubleType())
            self._loaded[key] = value if self.double else self._in_entry.fptrunc(value, self.real)
        return self._loaded[key]

    @property
    def scratch(self) -> Any:
        """Pointer to reals for temporary use by this call only."""
        if ("scratch", "") not in self._loaded:
            self._loaded["scratch", ""] = self._in_entry.inttoptr(self.scratch_address, self.real.as_pointer())
        return self._loaded["scratch", ""]

    # --- integers ---

    def whole(self, value: Any) -> Any:
        """Convert a Python number to an i64; an i64 is returned unchanged."""
        return I64(value) if isinstance(value, int) else value

    def sum(self, *terms: Any) -> Any:
        """Sum of i64s and of products given as pairs of factors."""
        total: Any = None
        constant = 0
        for term in terms:
            if isinstance(term, tuple):
                one, other = term
                if isinstance(one, int) and isinstance(other, int):
                    constant += one * other
                    continue
                term = self.b.mul(self.whole(one), self.whole(other))
            elif isinstance(term, int):
                constant += term
                continue
            total = term if total is None else self.b.add(total, term)
        if total is None:
            return I64(constant)
        return self.b.add(total, I64(constant)) if constant else total

    def index(self, name: str, at: Any) -> Any:
        """Entry of an i32 array, as i64."""
        return self.b.sext(self.b.load(self.b.gep(self.pointer(name, I32), [self.whole(at)])), I64)

    def minimum(self, one: Any, other: Any) -> Any:
        """Minimum of two i64s."""
        one, other = self.whole(one), self.whole(other)
        return self.b.select(self.b.icmp_signed("<", one, other), one, other)

    # --- memory ---

    def at(self, pointer: Any, *terms: Any) -> Any:
        """Pointer moved by a sum of terms."""
        return self.b.gep(pointer, [self.sum(*terms)])

    def load(self, pointer: Any, offset: Any = 0) -> Any:
        """Load a scalar."""
        return self.b.load(self.b.gep(pointer, [self.whole(offset)]))

    def store(self, value: Any, pointer: Any, offset: Any = 0) -> None:
        """Store a scalar."""
        self.b.store(value, self.b.gep(pointer, [self.whole(offset)]))

    def vload(self, pointer: Any, offset: Any = 0) -> Any:
        """Load a vector; all vectors in memory are aligned."""
        place = self.b.bitcast(self.b.gep(pointer, [self.whole(offset)]), self.vector.as_pointer())
        value = self.b.load(place)
        value.align = self.lanes * self.size
        return value

    def vstore(self, value: Any, pointer: Any, offset: Any = 0) -> None:
        """Store a vector."""
        kind = value.type
        place = self.b.bitcast(self.b.gep(pointer, [self.whole(offset)]), kind.as_pointer())
        self.b.store(value, place).align = self.lanes * (4 if kind == self.ivector else self.size)

    def splat(self, scalar: Any) -> Any:
        """A vector with a scalar in all lanes."""
        vector = ir.VectorType(scalar.type, self.lanes)
        undefined = ir.Constant(vector, ir.Undefined)
        zeros = ir.Constant(self.ivector, [0] * self.lanes)
        return self.b.shuffle_vector(self.b.insert_element(undefined, scalar, I32(0)), undefined, zeros)

    def broadcast(self, pointer: Any, offset: Any = 0) -> Any:
        """A vector with a scalar from memory in all lanes."""
        return self.splat(self.load(pointer, offset))

    # --- arithmetic on vectors or scalars ---

    def constant(self, value: float, like: Any | None = None) -> Any:
        """A constant in all lanes of a vector, or as a scalar of the type of `like`."""
        kind = self.vector if like is None else like.type
        if not self.double:
            value = struct.unpack("f", struct.pack("f", value))[0]
        if kind == self.vector:
            return ir.Constant(self.vector, [value] * self.lanes)
        return ir.Constant(self.real, value)

    @property
    def zero(self) -> Any:
        """A vector of zeros."""
        return self.constant(0.0)

    def add(self, one: Any, other: Any) -> Any:
        return other if one is None else one if other is None else self.b.fadd(one, other)

    def sub(self, one: Any, other: Any) -> Any:
        return self.b.fsub(one, other)

    def mul(self, one: Any, other: Any) -> Any:
        return self.b.fmul(one, other)

    def div(self, one: Any, other: Any) -> Any:
        return self.b.fdiv(one, other)

    def fma(self, one: Any, other: Any, total: Any) -> Any:
        """one * other + total; `total` may be None for 0."""
        if total is None:
            return self.mul(one, other)
        return self.b.call(self._intrinsic("llvm.fmuladd", one.type, 3), [one, other, total])

    def sqrt(self, value: Any) -> Any:
        return self.b.call(self._intrinsic("llvm.sqrt", value.type, 1), [value])

    def dot(self, pairs: Sequence[tuple[Any, Any]], total: Any = None) -> Any:
        """Sum of products; None if there are none."""
        for one, other in pairs:
            total = self.fma(one, other, total)
        return total

    def scaled(self, value: Any, factor: float, total: Any = None) -> Any:
        """value * factor + total."""
        if factor == 1.0:
            return self.add(value, total) if total is not None else value
        if factor == -1.0 and total is not None:
            return self.sub(total, value)
        return self.fma(value, self.constant(factor, value), total)

    def _intrinsic(self, name: str, kind: ir.Type, arguments: int) -> Any:
        scalar = "f64" if self.double else "f32"
        name = f"{name}.v{self.lanes}{scalar}" if kind == self.vector else f"{name}.{scalar}"
        if name in self.module.globals:
            return self.module.globals[name]
        return ir.Function(self.module, ir.FunctionType(kind, [kind] * arguments), name)

    def exp(self, value: Any) -> Any:
        """exp of a vector, to rounding, without a library call. NaN stays NaN.

        exp(x) = 2^n exp(f) with n the nearest integer to x / ln 2; exp(f), |f| <= ln(2) / 2, is its Taylor series.
        """
        limit = 700.0 if self.double else 86.0
        given = value
        for bound, sign in ((limit, ">"), (-limit, "<")):
            over = self.b.fcmp_ordered(sign, value, self.constant(bound))
            value = self.b.select(over, self.constant(bound), value)
        # Adding this rounds to an integer, which is then in the lowest bits.
        shift = 6755399441055744.0 if self.double else 12582912.0
        shifted = self.fma(value, self.constant(1.4426950408889634), self.constant(shift))
        whole = self.sub(shifted, self.constant(shift))
        high, low = (
            (0.693147180369123816490, 1.90821492927058770002e-10) if self.double else (0.693359375, -2.12194440e-4)
        )
        rest = self.fma(whole, self.constant(-low), self.fma(whole, self.constant(-high), value))
        order = 13 if self.double else 7
        factorial = [1.0]
        for k in range(1, order + 1):
            factorial.append(factorial[-1] * k)
        series = self.constant(1.0 / factorial[order])
        for k in range(order - 1, -1, -1):
            series = self.fma(series, rest, self.constant(1.0 / factorial[k]))
        kind = ir.VectorType(I64 if self.double else I32, self.lanes)
        bits = self.b.bitcast(shifted, kind)
        places = 52 if self.double else 23
        exponent = self.b.shl(bits, ir.Constant(kind, [places] * self.lanes))
        result = self.b.bitcast(self.b.add(self.b.bitcast(series, kind), exponent), self.vector)
        return self.b.select(self.b.fcmp_unordered("uno", given, given), given, result)

    # --- lanes ---

    def shuffle(self, one: Any, other: Any, lanes: Sequence[int]) -> Any:
        """Select lanes from two vectors."""
        return self.b.shuffle_vector(one, other, ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes)))

    def sums(self, vectors: Sequence[Any]) -> list[Any]:
        """Sums over the lanes of each vector, packed into vectors; unused lanes of the last one are 0."""
        out = []
        even, odd = range(0, 2 * self.lanes, 2), range(1, 2 * self.lanes, 2)
        for first in range(0, len(vectors), self.lanes):
            level: list[Any] = list(vectors[first : first + self.lanes])
            width = self.lanes
            while width > 1:
                level += [None] * (len(level) % 2)
                pairs = zip(level[::2], level[1::2], strict=True)
                level = []
                for one, other in pairs:
                    other = self.zero if other is None else other
                    level.append(self.add(self.shuffle(one, other, even), self.shuffle(one, other, odd)))
                width //= 2
            out.append(level[0])
        return out

    def total(self, vector: Any) -> Any:
        """Sum over the lanes of a vector, as a scalar."""
        width = self.lanes
        while width > 1:
            half = width // 2
            low, high = range(half), range(half, width)
            vector = self.b.fadd(self.shuffle(vector, vector, low), self.shuffle(vector, vector, high))
            width = half
        return self.b.extract_element(vector, I32(0))

    def transposed(self, rows: Sequence[Any]) -> list[Any]:
        """Transpose: lane i of row j becomes lane j of row i."""
        half = self.lanes // 2
        low = [lane for i in range(half) for lane in (i, self.lanes + i)]
        high = [lane + half for lane in low]
        rows, width = list(rows), 1
        while width < self.lanes:
            pairs = [(rows[i], rows[i + half]) for i in range(half)]
            rows = [self.shuffle(*pair, lanes) for pair in pairs for lanes in (low, high)]
            width *= 2
        return rows

    # --- variables and loops ---

    def variable(self, value: Any) -> Any:
        """Storage for a value that changes; a later pass turns it into a register."""
        place = self._in_entry.alloca(value.type)
        self.b.store(value, place)
        return place

    def get(self, place: Any) -> Any:
        return self.b.load(place)

    def set(self, place: Any, value: Any) -> None:
        self.b.store(value, place)

    @contextmanager
    def loop(self, start: Any, stop: Any, step: int = 1) -> Iterator[Any]:
        """A loop over i64s; yields the index."""
        start, stop = self.whole(start), self.whole(stop)
        before = self.b.block
        head = self.function.append_basic_block("head")
        body = self.function.append_basic_block("loop")
        after = self.function.append_basic_block("after")
        self.b.branch(head)
        self.b.position_at_end(head)
        index = self.b.phi(I64)
        index.add_incoming(start, before)
        self.b.cbranch(self.b.icmp_signed("<", index, stop), body, after)
        self.b.position_at_end(body)
        yield index
        index.add_incoming(self.b.add(index, I64(step)), self.b.block)
        self.b.branch(head)
        self.b.position_at_end(after)

    @contextmanager
    def when(self, condition: Any) -> Iterator[None]:
        """Code to execute if a condition is true."""
        inside, after = (self.function.append_basic_block(name) for name in ("then", "after"))
        self.b.cbranch(condition, inside, after)
        self.b.position_at_end(inside)
        yield
        self.b.branch(after)
        self.b.position_at_end(after)

    def call(self, kernel: Kernel, begin: Any, end: Any) -> None:
        """Call another kernel with the same table and scratch memory."""
        self.b.call(kernel.function, [self.table, self.whole(begin), self.whole(end), self.scratch_address])
