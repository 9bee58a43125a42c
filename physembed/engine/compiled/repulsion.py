"""Code of MACE's pair repulsion (J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Solids).

With q = 14.3996 eV Å Z_i Z_j and the length a of the pair, the energy of an atom includes for each of its neighbours

    q / (2 r) sum_n c_n exp(-e_n r / a) f(r / r_c)

with MACE's polynomial cutoff f at the sum of the covalent radii, r_c.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from physembed.engine.compiled.edges import over_edges
from physembed.engine.compiled.emit import Kernel
from physembed.engine.compiled.geometry import Layout
from physembed.engine.compiled.shape import Shape

EXPONENTS = (3.2, 0.9423, 0.4028, 0.2016)


def emit(k: Kernel, shape: Shape, atom: Any) -> None:
    """Add the energy of an atom, and the gradient with respect to the distances of its edges."""
    layout, p = Layout(shape), shape.repulsion
    factors = ((p + 1) * (p + 2) / 2, p * (p + 2), p * (p + 1) / 2)
    species = k.index("species", atom)
    with over_edges(k, shape, atom) as edge:
        pair = k.sum((species, k.slot("elements")), k.index("species", edge.neighbour))
        inverse = k.load(edge.place, layout.inverse * k.lanes)
        per_cutoff = k.load(k.pointer("repulsion_cutoff"), pair)
        with k.when(k.b.fcmp_ordered(">", inverse, per_cutoff)):
            one = ir.Constant(k.real, 1.0)
            r = k.div(one, inverse)
            x = k.mul(r, per_cutoff)
            powers = [one]
            for _ in range(p + 2):
                powers.append(k.mul(powers[-1], x))
            cutoff, slope = one, ir.Constant(k.real, 0.0)
            for at, factor in enumerate((-factors[0], factors[1], -factors[2])):
                cutoff = k.scaled(powers[p + at], factor, cutoff)
                slope = k.scaled(powers[p + at - 1], factor * (p + at), slope)
            slope = k.mul(slope, per_cutoff)
            length = k.load(k.pointer("repulsion_length"), pair)
            exponents = ir.Constant(k.vector, [-value for value in EXPONENTS] + [0.0] * (k.lanes - len(EXPONENTS)))
            screened = k.mul(
                k.exp(k.mul(k.splat(k.mul(r, length)), exponents)), k.vload(k.pointer("repulsion_weights"))
            )
            phi = k.total(screened)
            phi_slope = k.mul(k.total(k.mul(screened, exponents)), length)
            charge = k.mul(k.load(k.pointer("repulsion_charge"), pair), inverse)
            energy = k.mul(charge, k.mul(phi, cutoff))
            gradient = k.fma(k.mul(charge, phi_slope), cutoff, k.mul(charge, k.mul(phi, slope)))
            gradient = k.sub(gradient, k.mul(energy, inverse))
            place = k.at(k.pointer("energy"), atom)
            k.store(k.b.fadd(k.load(place), energy), place)
            place = k.at(k.pointer("by_harmonics"), (edge.index, shape.gradient_width))
            k.store(k.b.fadd(k.load(place), gradient), place)
