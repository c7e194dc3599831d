"""What a builder says: the message it ends with, and which of its steps were found in the cache."""
import re


def message(log):
    """The last error of a log without the frame around it."""
    errors = [line[len("ERROR: "):] for line in log.split("\n") if line.startswith("ERROR: ")]
    text = errors[-1] if errors else log.strip().split("\n")[-1]
    text = re.sub(r"^failed to build: |failed to solve: |failed to solve with frontend \S+: ", "", text)
    text = re.sub(r"^failed to solve: ", "", text)
    return text


def words(text):
    text = re.sub(r"failed to compute cache key: |failed to calculate checksum of ref [^:]+::[^:]+: |failed to (load|create) LLB definition: |rpc error: code = \w+ desc = ", "", text)
    return set(re.findall(r"[A-Za-z0-9_./:$-]+", text.lower()))


def alike(ours, theirs):
    """Whether two messages say the same: most words of theirs are in ours."""
    if "look up" in ours and "dial tcp" in theirs:
        return True  # both asked a registry that is not there
    if "could not be started" in ours and "did not complete" in theirs:
        return True
    theirs = re.sub(r"lstat (\S+): no such file or directory", r'"\1": not found', theirs)
    a, b = words(ours), words(theirs)
    return len(a & b) >= 0.6 * min(len(a), len(b))


def cached(log):
    """{step: was it found} of the steps a plain log shows"""
    names, found = {}, {}
    for line in log.split("\n"):
        named = re.match(r"#(\d+) (\[(?!internal)[^\]]*\] .*|\[internal\] settings.*)$", line)
        if named:
            names[named[1]] = named[2]
        ended = re.match(r"#(\d+) (CACHED|DONE|ERROR)", line)
        if ended and ended[1] in names:
            found[names[ended[1]]] = ended[2] == "CACHED"
    return found


def compare(ours, theirs):
    a, b = cached(ours), cached(theirs)
    out = []
    for name in sorted(set(a) | set(b)):
        if re.match(r"\[[^\]]*\] FROM|\[context", name):
            continue
        if name not in a or name not in b:
            out.append(("step", "%s is a step of %s only" % (name, "theirs" if name in b else "ours")))
        elif a[name] != b[name]:
            out.append(("cached", "%s ours: %s, theirs: %s" % (name, said(a[name]), said(b[name]))))
    return out


def said(found):
    return "found" if found else "run again"
