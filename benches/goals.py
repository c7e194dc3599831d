"""What is aimed at, row by row, and whether a run met it. Ratios are of median walls; absolute goals hold at scale 1."""
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


def within(seconds):
    return Goal(f"<= {seconds * 1000:.0f} ms", lambda row: median(row, "rbuild") <= seconds)


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
    return Goal(f"peak <= {mib} MiB", lambda row: max(run["peak_kib"] for run in row["rbuild"]["runs"]) <= mib * 1024)


GOALS = {
    "a": [within(0.015)],
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
}


def judged(name, row):
    """(text, met) of each goal of the row; `met` is None where its peer was not there."""
    return [(goal.text, goal.met(row)) for goal in GOALS.get(name, [])]
