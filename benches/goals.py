"""What is aimed at, row by row, and whether a run met it. Ratios are of median walls; absolute goals hold at scale 1."""
import math
import statistics


class Goal:
    def __init__(self, text, met):
        self.text, self.met = text, met


def median(row, name, what="wall"):
    runs = row.get(name, {}).get("runs")
    return statistics.median(run[what] for run in runs) if runs else None


def least(row, name, what="wall"):
    runs = row.get(name, {}).get("runs")
    return min(run[what] for run in runs) if runs else None


def peak(row, name):
    """MiB at the highest."""
    runs = row.get(name, {}).get("runs")
    return max(run["peak_kib"] for run in runs) / 1024 if runs else None


def growth(rows):
    """For each series of sizes the exponent between its two largest: 1 is linear."""
    series = {}
    for name, row in rows.items():
        kind, _, count = name.partition(" ")
        if count and median(row, "rbuild"):
            series.setdefault(kind, []).append((int(count), median(row, "rbuild")))
    ends = {kind: sorted(points)[-2:] for kind, points in series.items() if len(points) > 1}
    return {kind: math.log(after[1] / before[1]) / math.log(after[0] / before[0]) for kind, (before, after) in ends.items()}


def within(seconds):
    return Goal(f"<= {seconds * 1000:.0f} ms", lambda row: median(row, "rbuild") <= seconds)


def within_and_a_trip(seconds):
    """The same and one question to the registry, if one is asked."""
    def met(row):
        trips = row["rbuild"].get("trips")
        return median(row, "rbuild") <= seconds + (statistics.median(trips) if trips else 0)
    return Goal(f"<= {seconds * 1000:.0f} ms and a round trip", met)


def share(factor, *names):
    """At most this share of the fastest of the named ones."""
    def met(row):
        others = [median(row, name) for name in names if median(row, name)]
        return median(row, "rbuild") <= factor * min(others) if others else None
    return Goal(f"<= {factor} x {' or '.join(names)}", met)


def own_share(factor):
    def met(row):
        limit = median(row, "limit")
        return median(row, "rbuild") - limit <= factor * median(row, "rbuild") if limit else None
    return Goal(f"own share <= {factor:.0%}", met)


def memory(mib):
    return Goal(f"peak <= {mib} MiB", lambda row: peak(row, "rbuild") <= mib)


GOALS = {
    "a": [within_and_a_trip(0.015)],
    "b": [within(0.3), share(2.5, "limit")],
    "c": [within(1.12)],
    "d1": [share(1.3, "limit"), memory(95)],
    "d2": [within(0.12)],
    "d3": [share(0.15, "buildkit")],
    "d1t": [memory(95)],
    "e1": [share(0.35, "buildkit"), share(0.6, "buildah"), memory(95)],
    "e2": [share(0.4, "buildkit", "buildah"), memory(95)],
    "e3": [share(0.45, "buildkit"), share(0.7, "buildah"), memory(95)],
    "f1": [share(0.85, "buildkit"), own_share(0.05)],
    "f2": [share(0.85, "buildkit"), own_share(0.05)],
    "g1": [share(0.8, "buildkit")],
    "g2": [share(0.4, "buildkit")],
    "h": [share(0.55, "buildkit"), share(1.3, "limit")],
    "i-files": [memory(95)],
    "i-layers": [memory(95)],
    "i-instructions": [memory(95)],
}


def judged(name, row):
    """(text, met) of each goal of the row; `met` is None where its peer was not there."""
    return [(goal.text, goal.met(row)) for goal in GOALS.get(name.split()[0], [])]
