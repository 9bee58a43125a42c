"""Code of the symmetric contraction: polynomials in the components of A, one channel per lane.

A polynomial is a tree of its monomials, which shares products; value and gradient take two fused multiply-adds per
coefficient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from physembed.engine.compiled.emit import Kernel
from physembed.engine.compiled.shape import LayerShape, Monomial


def terms(layer: LayerShape) -> list[tuple[Monomial, int]]:
    """Monomials with the component (L, M) to which they contribute, in the order of their coefficients in memory."""
    return sorted((monomial, at) for at, monomials in enumerate(layer.monomials) for monomial in monomials)


class _Node:
    def __init__(self) -> None:
        self.children: dict[int, _Node] = {}
        self.places: list[tuple[int, int]] = []
        """Component (L, M) and index of the coefficient."""


def _tree(layer: LayerShape) -> _Node:
    root = _Node()
    for index, (monomial, at) in enumerate(terms(layer)):
        node = root
        for component in monomial:
            node = node.children.setdefault(component, _Node())
        node.places.append((at, index))
    return root


def values(k: Kernel, layer: LayerShape, A: Sequence[Any], coefficient: Callable[[int], Any]) -> list[Any]:
    """The products (L, M) of A."""
    totals: list[Any] = [None] * len(layer.monomials)

    def visit(node: _Node, product: Any) -> None:
        for component, child in node.children.items():
            monomial = A[component] if product is None else k.mul(product, A[component])
            for at, index in child.places:
                totals[at] = k.fma(monomial, coefficient(index), totals[at])
            visit(child, monomial)

    visit(_tree(layer), None)
    return [k.zero if total is None else total for total in totals]


def value_and_gradient(
    k: Kernel, layer: LayerShape, A: Sequence[Any], coefficient: Callable[[int], Any], weights: Sequence[Any] | None
) -> tuple[Any, list[Any]]:
    """Value and gradient of the weighted sum of the products.

    Args:
        k: kernel to which the code is added.
        layer: layer of the products.
        A: components.
        coefficient: loads a coefficient.
        weights: weights of the components (L, M); None if there is only one, with weight 1.
    """
    gradient: list[Any] = [None] * len(A)

    def own(node: _Node) -> Any:
        total = None
        for at, index in node.places:
            value = coefficient(index)
            total = value if weights is None else k.fma(value, weights[at], total)
        return total

    def visit(node: _Node, product: Any) -> Any:
        """Polynomial of a node divided by its product; adds the gradient with respect to the components below it."""
        total = own(node)
        for component, child in node.children.items():
            longer = None
            if child.children:
                longer = A[component] if product is None else k.mul(product, A[component])
            inner = visit(child, longer)
            so_far = gradient[component]
            gradient[component] = k.add(so_far, inner) if product is None else k.fma(product, inner, so_far)
            total = k.fma(A[component], inner, total)
        return total

    total = visit(_tree(layer), None)
    return (k.zero if total is None else total), [k.zero if value is None else value for value in gradient]
