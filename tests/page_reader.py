"""Reads a page as a browser's parser does, and draws a small figure."""

from html.parser import HTMLParser

from matplotlib.figure import Figure

HOSTILE = "<img src=x onerror=alert(1)> & $x_1$ </script>"


class Reader(HTMLParser):
    """Collects tags with their attributes, the text outside style and script, and cells' texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.cells: list[str] = []
        self.raw = {"style": "", "script": ""}
        self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag if tag in self.raw or tag == "td" else ""
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside in self.raw:
            self.raw[self.inside] += data
            return
        self.text += data
        if self.inside == "td":
            self.cells[-1] += data.strip()

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def draw(points: int = 3, label: str = "a line") -> Figure:
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.scatter(range(points), range(points), color="tab:blue")
    axes.set_title(label, parse_math=False)
    return figure
