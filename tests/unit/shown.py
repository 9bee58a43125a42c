"""What figures and pages show."""

from __future__ import annotations

from html.parser import HTMLParser
from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


def texts(figure: Figure) -> list[Text]:
    """All texts that are drawn, with their final places."""
    FigureCanvasAgg(figure).draw()
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    # Ticks outside the limits of their axis exist but are not drawn.
    ticks = {axis: axis.get_view_interval() for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)}
    hidden = set()
    for axis, (low, high) in ticks.items():
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            outside = not min(low, high) - 1e-9 <= tick.get_loc() <= max(low, high) + 1e-9
            for label in (tick.label1, tick.label2):
                if outside or not tick.get_visible():
                    hidden.add(label)
    return [text for text in found if text not in hidden]


def words(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in texts(figure))


def check_legible(name: str, figure: Figure) -> None:
    """All texts of a figure are inside of it, apart from each other, and large enough."""
    shown = texts(figure)
    boxes = [text.get_window_extent() for text in shown]
    width, height = figure.canvas.get_width_height()
    for text, box in zip(shown, boxes, strict=True):
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"{name}: {text.get_text()!r} reaches out of the figure"
    for (text_a, a), (text_b, b) in combinations(zip(shown, boxes, strict=True), 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        along = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert not (across > 1 and along > 1), f"{name}: {text_a.get_text()!r} lies on {text_b.get_text()!r}"
    assert min(text.get_fontsize() for text in shown) >= 7


class Page(HTMLParser):
    """What a page says, what it loads, and where it can be pointed at."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.tags: set[str] = set()
        self.text = self.style = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        self.anchors |= {value or "" for name, value in attrs if name == "id"}

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:
            self.style += data
        else:
            self.text += data + " "

    @property
    def images(self) -> int:
        """Figures that it shows."""
        return sum(link.startswith("data:image/svg+xml") for link in self.loaded)

    def check_alone(self) -> None:
        """It is self-contained: everything that it loads is in it, nothing runs, and no internal link is broken."""
        assert all(link.startswith(("data:", "#")) for link in self.loaded)
        assert {link[1:] for link in self.loaded if link.startswith("#")} <= self.anchors
        assert not {"script", "iframe"} & self.tags
        assert self.style and "url(" not in self.style and "@import" not in self.style
