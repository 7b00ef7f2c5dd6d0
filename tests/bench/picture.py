"""
picture.py - draws what a run found as SVG, with nothing but Python: cost against the number of
messages, lines on two logarithmic axes; and the cost of a poll over TLS, bars.

    python3 tests/bench/picture.py      anew from build/bench/figures.json, into tests/bench:
                                        the pictures that the README shows

Runs in:   the benchmark.
May touch: the files it is given, or these two.
"""
import json
import math
import os

WIDTH, HEIGHT = 920, 560
LEFT, RIGHT, TOP, BOTTOM = 84, 190, 84, 66

# Readable for the colour-blind too; pop3d stands out by weight as well.
COLOURS = {
    "pop3d": "#c2185b", "dovecot": "#1f77b4", "dovecot ready": "#6baed6", "courier": "#2e8b57",
    "solid-pop3d": "#b8860b", "popa3d": "#7b5ea7", "mailutils": "#8c564b", "getdents (floor)": "#8a8a8a",
}


def decades(low, high):
    return range(math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9) + 1)


def label_time(seconds):
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"


def spread(wanted, gap, low, high):
    """Moves labels apart, as little as is needed, in their order from above."""
    places = sorted(wanted, key=lambda one: one[1])
    at = [y for _, y in places]
    for _ in range(200):
        for i in range(1, len(at)):
            overlap = gap - (at[i] - at[i - 1])
            if overlap > 0:
                at[i - 1] -= overlap / 2
                at[i] += overlap / 2
        if at and at[0] < low:
            at = [y + low - at[0] for y in at]
        if at and at[-1] > high:
            at = [y - (at[-1] - high) for y in at]
    return [(name, y) for (name, _), y in zip(places, at)]


def draw(path, curve, title, subtitle):
    """curve: name: [(messages, seconds)], each in rising order."""
    points = [point for line in curve.values() for point in line]
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_decades = decades(min(y for _, y in points), max(y for _, y in points))
    y_low, y_high = 10.0 ** y_decades[0], 10.0 ** y_decades[-1]

    def at_x(count):
        return LEFT + (math.log10(count) - math.log10(x_low)) / math.log10(x_high / x_low) * \
            (WIDTH - LEFT - RIGHT)

    def at_y(seconds):
        return HEIGHT - BOTTOM - (math.log10(seconds) - math.log10(y_low)) / math.log10(y_high / y_low) * \
            (HEIGHT - TOP - BOTTOM)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
           f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="Helvetica, Arial, sans-serif">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
           f'<text x="{LEFT}" y="34" font-size="19" font-weight="bold" fill="#222">{title}</text>',
           f'<text x="{LEFT}" y="56" font-size="13" fill="#666">{subtitle}</text>']
    for decade in y_decades:
        y = at_y(10.0 ** decade)
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d5d5d5"/>')
        out.append(f'<text x="{LEFT - 10}" y="{y + 4:.1f}" font-size="12" fill="#444" text-anchor="end">'
                   f'{label_time(10.0 ** decade)}</text>')
        for minor in range(2, 10):
            if decade != y_decades[-1]:
                y = at_y(minor * 10.0 ** decade)
                out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                           f'stroke="#f1f1f1"/>')
    for decade in decades(x_low, x_high):
        x = at_x(10.0 ** decade)
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#e6e6e6"/>')
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" font-size="12" fill="#444" '
                   f'text-anchor="middle">{10 ** decade:,}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 16}" font-size="13" fill="#444" '
               f'text-anchor="middle">messages in the maildrop</text>')
    out.append(f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}" '
               f'fill="none" stroke="#999"/>')
    names = sorted(curve, key=lambda name: name == "pop3d")     # pop3d on top
    for name in names:
        colour = COLOURS.get(name, "#444")
        width = 4 if name == "pop3d" else 2
        dashes = ' stroke-dasharray="3 4"' if "floor" in name else ""
        line = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in curve[name])
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="{width}" '
                   f'stroke-linejoin="round"{dashes}/>')
        for x, y in curve[name]:
            out.append(f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="{width + 0.5}" fill="{colour}" '
                       f'stroke="#fff"/>')
    wanted = [(name, at_y(curve[name][-1][1])) for name in curve]
    for name, y in spread(wanted, 19, TOP + 8, HEIGHT - BOTTOM - 4):
        x_end, y_end = curve[name][-1]
        colour = COLOURS.get(name, "#444")
        weight = ' font-weight="bold"' if name == "pop3d" else ""
        short = "" if x_end == x_high else f" (to {x_end:,})"
        start = WIDTH - RIGHT + 8
        out.append(f'<path d="M{at_x(x_end) + 6:.1f},{at_y(y_end):.1f} L{start + 6},{y:.1f} h6" fill="none" '
                   f'stroke="{colour}" stroke-opacity="0.45"/>')
        out.append(f'<text x="{start + 17}" y="{y + 4:.1f}" font-size="13" fill="{colour}"{weight}>'
                   f'{name}{short}</text>')
    finish(path, out)


def finish(path, out):
    with open(path, "w") as file:
        file.write("\n".join([*out, "</svg>"]) + "\n")


BAR, GAP, NAMES = 22, 10, 220       # a bar's height, what is between two, room for names


def draw_bars(path, groups, title, subtitle):
    """groups: heading: {name: seconds}; all on one linear scale, the least first."""
    count = sum(len(bars) + 1.3 for bars in groups.values())
    height = int(TOP + count * (BAR + GAP) + 10)
    most = max(seconds for bars in groups.values() for seconds in bars.values())
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
           f'viewBox="0 0 {WIDTH} {height}" font-family="Helvetica, Arial, sans-serif">',
           f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
           f'<text x="24" y="34" font-size="19" font-weight="bold" fill="#222">{title}</text>',
           f'<text x="24" y="56" font-size="13" fill="#666">{subtitle}</text>']
    y = TOP
    for heading, bars in groups.items():
        out.append(f'<text x="24" y="{y + 14}" font-size="14" fill="#444">{heading}</text>')
        y += BAR + GAP
        for name, seconds in sorted(bars.items(), key=lambda bar: bar[1]):
            colour = COLOURS.get(name, COLOURS["pop3d"] if name.startswith("pop3d") else "#8a8a8a")
            width = seconds / most * (WIDTH - NAMES - 110)
            weight = ' font-weight="bold"' if name.startswith("pop3d") else ""
            out.append(f'<text x="{NAMES - 8}" y="{y + 16}" font-size="13" fill="#222" text-anchor="end"{weight}>'
                       f'{name}</text>')
            out.append(f'<rect x="{NAMES}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>')
            out.append(f'<text x="{NAMES + width + 8:.1f}" y="{y + 16}" font-size="13" fill="#444">'
                       f'{seconds * 1000:.1f} ms</text>')
            y += BAR + GAP
        y += BAR * 0.3
    finish(path, out)


def draw_all(figures, folder):
    """The pictures that these figures are enough for."""
    if "curve" in figures:
        draw(f"{folder}/cost.svg", figures["curve"], "From login to STAT, nothing changed since the last session",
             "milliseconds, median; PAM login; 4 KB messages; both axes logarithmic")
    if "poll-tls" in figures:
        draw_bars(f"{folder}/poll.svg", {"nothing to fetch (10 messages)": figures["poll-tls"],
                                         "100 messages of 4 KB fetched": figures["fetch-tls"]},
                  "A whole poll over TLS: processor time of the server's side",
                  "per session, median; TLS included; a PAM that costs nothing, the same for all")


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    tree = os.path.dirname(os.path.dirname(here))
    with open(f"{tree}/build/bench/figures.json") as file:
        draw_all(json.load(file), here)


if __name__ == "__main__":
    main()
