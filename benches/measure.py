"""What a command costs: wall, CPU, peak memory, of its own processes and of the daemon that works for it.

A daemon's CPU is that of its process and of all children it has waited for, so of runc, unpigz and the steps too; its peak
is VmHWM, set back before every run.
"""
import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A command that did not succeed; the text is what it said last."""


class Daemon:
    """Processes that work for others."""

    def __init__(self, ids):
        self.ids = ids

    @classmethod
    def of(cls, name, socket):
        """The process of that name, where there are several the one that listens on the socket, with its children or, if it
        has none, with the containerd that the system started."""
        everyone = [entry for entry in os.listdir("/proc") if entry.isdigit()]
        named = [entry for entry in everyone if comm(entry) == name]
        ours = [entry for entry in named if socket and socket in arguments(entry)] or named
        children = [entry for entry in everyone if stat(entry)[1] in ours]
        return cls(ours + (children or [entry for entry in everyone if comm(entry) == "containerd"]))

    def reset_peak(self):
        for process in self.ids:
            try:
                with open(f"/proc/{process}/clear_refs", "w") as file:
                    file.write("5")
            except OSError:
                pass

    def cpu(self):
        return sum(sum(map(int, stat(process)[11:15])) for process in self.ids) / TICKS

    def peak_kib(self):
        return sum(status(process, "VmHWM") for process in self.ids)


def comm(process):
    try:
        with open(f"/proc/{process}/comm") as file:
            return file.read().strip()
    except OSError:
        return ""


def arguments(process):
    try:
        with open(f"/proc/{process}/cmdline") as file:
            return file.read().split("\0")
    except OSError:
        return []


def stat(process):
    """The fields of /proc/PID/stat after the name."""
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return ["0"] * 40


def status(process, field):
    try:
        with open(f"/proc/{process}/status") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(field + ":")), 0)
    except OSError:
        return 0


class Meter:
    """Measures commands by cost.c."""

    def __init__(self, folder):
        self.folder, self.program = folder, compiled("cost", folder)

    def measured(self, command, daemon=None):
        """Runs the command (words, or a line for the shell): wall and CPU seconds, KiB at the peak."""
        words = ["sh", "-c", command] if isinstance(command, str) else command
        report = os.path.join(self.folder, "report")
        if daemon:
            daemon.reset_peak()
            before = daemon.cpu()
        done = subprocess.run([self.program, report, *words], cwd=self.folder, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if done.returncode:
            said = done.stderr.decode(errors="replace")[-3000:]
            raise Failed(f"{command}\nexit code {done.returncode}\n{said}")
        with open(report) as file:
            wall, cpu, peak = file.read().split()
        sample = {"wall": float(wall), "cpu": float(cpu), "peak_kib": int(peak)}
        if daemon:
            sample["cpu"] = round(sample["cpu"] + daemon.cpu() - before, 4)
            sample["peak_kib"] += daemon.peak_kib()
        return sample


def compiled(name, folder):
    """A C program of this folder, built into that one."""
    program = os.path.join(folder, name)
    subprocess.run(["cc", "-O2", "-static", "-o", program, os.path.join(HERE, name + ".c")], check=True)
    return program
