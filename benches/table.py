"""The table of a run, for the terminal and, shorter, for the README."""
from goals import growth, judged, least, median, peak

ORDER = ["rbuild", "buildkit", "buildah", "limit"]


def seconds(value):
    if value is None:
        return ""
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def ratio(value, other):
    return f"{value / other:.2f}" if value and other else ""


def terminal(rows, titles, with_goals):
    lines = []
    for name, row in rows.items():
        lines.append(f"{name}: {titles.get(name, titles.get(name.split()[0], name))}")
        for builder in [builder for builder in ORDER if builder in row and row[builder]["runs"]]:
            wall = median(row, builder)
            extra = [row[builder].get("note", ""), f"{row[builder]['bytes'] / 1e6:.1f} MB" if "bytes" in row[builder] else ""]
            lines.append(f"  {builder:9} median {seconds(wall):>8}  min {seconds(least(row, builder)):>8}"
                         f"  cpu {seconds(median(row, builder, 'cpu')):>8}  peak {peak(row, builder):6.0f} MiB"
                         f"  x buildkit {ratio(wall, median(row, 'buildkit')):>6}  x limit {ratio(wall, median(row, 'limit')):>6}"
                         f"  {' '.join(filter(None, extra))}".rstrip())
        for builder in [builder for builder in ORDER if builder in row and row[builder]["runs"]]:
            lines.append(f"    {builder}: {row[builder]['command'][:300]}")
        if with_goals:
            lines += [f"    goal {text}: {'met' if met else 'not known' if met is None else 'MISSED'}" for text, met in judged(name, row)]
    lines += [f"  {kind} grows with the size to the power of {power:.2f}" for kind, power in growth(rows).items()]
    return "\n".join(lines)


def memory(rows):
    """Row m: the peaks of the first context and of the gzip archive, for each builder; buildah always tags."""
    def of(names, builder):
        return next((f"{peak(rows[name], builder):.0f}" for name in names if name in rows and peak(rows[name], builder)), "")
    pairs = [(of(["d1", "d1t"], builder), of(["e1"], builder)) for builder in ORDER[:3]]
    return [f"{first} / {second} MiB" if first and second else "" for first, second in pairs]


def markdown(rows, titles, with_goals):
    lines = ["| work | rbuild | BuildKit | buildah | limit | rbuild / BuildKit | rbuild / limit | goal |",
             "|---|---|---|---|---|---|---|---|"]
    for name, row in rows.items():
        if name.startswith("i-"):
            continue
        ours = median(row, "rbuild")
        goals = "; ".join(f"{text} {'met' if met else 'missed'}" for text, met in judged(name, row) if with_goals and met is not None)
        cells = [seconds(median(row, builder)) for builder in ORDER]
        cells += [ratio(ours, median(row, "buildkit")), ratio(ours, median(row, "limit")), goals]
        notes = "; ".join(f"{builder}: {row[builder]['note']}" for builder in ORDER if "note" in row.get(builder, {}))
        title = titles.get(name, name) + (f" ({notes})" if notes else "")
        lines.append(f"| {name}: {title} | " + " | ".join(cells) + " |")
    cells = memory(rows)
    if cells[0]:
        met = "met" if max(peak(rows[name], "rbuild") for name in ["d1", "e1"]) <= 95 else "missed"
        lines.append(f"| m: peak memory of d1 and e1 | {' | '.join(cells)} | | | | <= 95 MiB {met} |")
    return "\n".join(lines)
