"""The two charts, as SVG: times relative to BuildKit, and how the cost grows with the size of the input.

Both axes of ratios and sizes are logarithmic, so values are points and not bars. Every builder has a shape of its own as
well as a colour.
"""
import math
from html import escape

from goals import median

COLOURS = {"rbuild": "#c2410c", "buildkit": "#1d4ed8", "buildah": "#6b7280", "limit": "#15803d"}
LINES = {"i-files": "#c2410c", "i-again": "#1d4ed8", "i-layers": "#15803d", "i-instructions": "#7e22ce", "i-cached": "#6b7280"}
WIDTH = 900


class Axis:
    """Maps values to pixels, logarithmically."""

    def __init__(self, values, begin, end):
        self.low, self.high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        self.begin, self.end = begin, end

    def at(self, value):
        return round(self.begin + (math.log10(value) - self.low) / (self.high - self.low) * (self.end - self.begin), 1)

    def marks(self):
        return [10.0**power for power in range(self.low, self.high + 1)]


def document(height, parts):
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">\n'
            f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n')
    return head + "\n".join(parts) + "\n</svg>\n"


def text(x, y, words, anchor="start", colour="#111"):
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def line(x1, y1, x2, y2, colour="#ddd", more=""):
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" {more}/>'


def point(name, x, y):
    colour = COLOURS[name]
    if name == "rbuild":
        return f'<circle cx="{x}" cy="{y}" r="6" fill="{colour}"/>'
    if name == "limit":
        return f'<path d="M{x} {y - 6}V{y + 6}" stroke="{colour}" stroke-width="3"/>'
    if name == "buildah":
        return f'<path d="M{x - 5} {y - 5}L{x + 5} {y + 5}M{x - 5} {y + 5}L{x + 5} {y - 5}" stroke="{colour}" stroke-width="2"/>'
    return f'<rect x="{x - 5}" y="{y - 5}" width="10" height="10" fill="{colour}"/>'


def short(value):
    return f"{value:g}" if value >= 0.001 else f"{value:.0e}"


def ratios(rows, titles):
    """One line for each row that BuildKit has too; BuildKit is 1."""
    shared = {name: row for name, row in rows.items() if median(row, "buildkit")}
    if not shared:
        return document(40, [text(10, 25, "no BuildKit in this run")])
    relative = {name: {builder: median(row, builder) / median(row, "buildkit") for builder in COLOURS if median(row, builder)}
                for name, row in shared.items()}
    axis = Axis([value for found in relative.values() for value in found.values()], 420, WIDTH - 30)
    bottom = 60 + 26 * len(relative)
    parts = [line(axis.at(mark), 45, axis.at(mark), bottom) for mark in axis.marks()]
    parts += [text(axis.at(mark), bottom + 18, short(mark), "middle") for mark in axis.marks()]
    parts.append(text(WIDTH - 30, bottom + 38, "wall time, BuildKit = 1; less is better", "end"))
    for number, name in enumerate(COLOURS):
        parts += [point(name, 430 + 110 * number, 22), text(442 + 110 * number, 27, name)]
    for number, (name, found) in enumerate(relative.items()):
        y = 66 + 26 * number
        title = titles.get(name, name)
        parts.append(text(10, y + 4, f"{name}  {title if len(title) < 58 else title[:56] + '…'}"))
        parts.append(line(axis.at(found["rbuild"]), y, axis.at(1), y, "#fdba74", 'stroke-width="3"'))
        parts += [point(builder, axis.at(value), y) for builder, value in reversed(found.items())]
    return document(bottom + 50, parts)


def size(rows, titles):
    """Wall time of rbuild by size, a line for each series, with one that is linear to compare with."""
    series = {}
    for name, row in rows.items():
        kind, _, count = name.partition(" ")
        if count:
            series.setdefault(kind, []).append((int(count), median(row, "rbuild")))
    if not series:
        return document(40, [text(10, 25, "no sizes in this run")])
    points = [point for found in series.values() for point in found]
    across, up = Axis([count for count, _ in points], 70, 560), Axis([wall for _, wall in points], 400, 20)
    parts = [line(across.at(mark), 20, across.at(mark), 400) + text(across.at(mark), 420, f"{mark:,.0f}", "middle") for mark in across.marks()]
    parts += [line(70, up.at(mark), 560, up.at(mark)) + text(62, up.at(mark) + 4, short(mark) + " s", "end") for mark in up.marks()]
    parts += linear(across, up)
    for number, (kind, found) in enumerate(series.items()):
        way = " ".join(f"{across.at(count)},{up.at(wall)}" for count, wall in sorted(found))
        parts.append(f'<polyline points="{way}" fill="none" stroke="{LINES[kind]}" stroke-width="2"/>')
        parts += [f'<circle cx="{across.at(count)}" cy="{up.at(wall)}" r="4" fill="{LINES[kind]}"/>' for count, wall in found]
        parts += [line(580, 36 + 24 * number, 600, 36 + 24 * number, LINES[kind], 'stroke-width="3"'),
                  text(606, 40 + 24 * number, titles.get(kind, kind)[:46])]
    parts += [line(580, 36 + 24 * len(series), 600, 36 + 24 * len(series), "#999", 'stroke-dasharray="4"'),
              text(606, 40 + 24 * len(series), "linear")]
    return document(440, parts)


def linear(across, up):
    """The dashed line of slope one that ends in the upper right corner."""
    decades = min(across.high - across.low, up.high - up.low)
    return [line(across.at(10.0 ** (across.high - decades)), up.at(10.0 ** (up.high - decades)), across.at(10.0**across.high),
                 up.at(10.0**up.high), "#999", 'stroke-dasharray="4"')]
