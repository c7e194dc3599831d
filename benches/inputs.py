#!/usr/bin/env python3
"""Makes the inputs of the workloads: folders of files and layers. Same seed, same bytes.

  inputs.py files COUNT AVERAGE FOLDER     small text files, 25 in a folder, sizes spread as in a source tree
  inputs.py data BYTES FOLDER              half text, half incompressible, in files of 16 MiB at most
  inputs.py layers COUNT BYTES FOLDER      layers of an image, as tar and as deflate stream, open at the end
  inputs.py program FOLDER                 a C program that takes a compiler about two seconds

"""
import io
import math
import os
import random
import subprocess
import sys
import tarfile
import zlib

SEED = 20260101
WORDS = "the of and to in is that for with return import function struct value layer image snapshot cache digest".split()
BLOCK = 8 << 20


def make(*words):
    subprocess.run([sys.executable, os.path.abspath(__file__), *map(str, words)], check=True)


def prose(source, size):
    """Text that compresses about as source code does."""
    words = WORDS + [f"w{number}" for number in range(3000)]
    text = " ".join(source.choices(words, k=size // 5 + 8)).encode()
    return (text * (size // len(text) + 1))[:size]


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def files(count, average, folder):
    source = random.Random(SEED)
    pool = prose(source, BLOCK)
    middle = math.log(average) - 0.45
    for number in range(count):
        where = os.path.join(folder, f"d{number // 250:04}", f"e{number // 25 % 10}")
        if number % 25 == 0:
            os.makedirs(where, exist_ok=True)
        size = min(max(10, int(source.lognormvariate(middle, 0.95))), 4 << 20)
        begin = source.randrange(len(pool) - size)
        write(os.path.join(where, f"f{number:06}.txt"), pool[begin : begin + size])


def data(size, folder):
    source = random.Random(SEED)
    os.makedirs(folder, exist_ok=True)
    each = min(size, 16 << 20)
    for number in range(max(2, size // each)):
        content = prose(source, each) if number % 2 else source.randbytes(each)
        write(os.path.join(folder, f"file{number:03}"), content)


def layers(count, size, folder):
    os.makedirs(folder, exist_ok=True)
    for number in range(count):
        source = random.Random(SEED + number)
        text = prose(source, 1 << 20)
        packed = zlib.compressobj(5, zlib.DEFLATED, -15)
        with open(os.path.join(folder, f"{number}.tar"), "wb") as tar, \
             open(os.path.join(folder, f"{number}.deflate"), "wb") as deflate:
            for block in entries(source, text, f"usr/share/part{number}", size // count):
                tar.write(block)
                deflate.write(packed.compress(block))
            deflate.write(packed.flush(zlib.Z_FULL_FLUSH))


def entries(source, text, folder, size):
    """Blocks of a tar without its end: two of three files are text, the others incompressible."""
    written = 0
    for number in range(1 << 30):
        length = min(max(100, int(source.lognormvariate(10.5, 1.2))), len(text) // 2)
        begin = source.randrange(len(text) - length)
        content = source.randbytes(length) if number % 3 == 0 else text[begin : begin + length]
        yield entry(f"{folder}/d{number // 50}/file{number}", content)
        written += length
        if written >= size:
            return


def entry(name, content):
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), 0o644, 1_700_000_000
    padding = -len(content) % 512
    return member.tobuf(tarfile.USTAR_FORMAT) + content + bytes(padding)


def program(folder):
    os.makedirs(folder, exist_ok=True)
    text = io.StringIO()
    text.write("#include <stdio.h>\n#include <stdlib.h>\n")
    for number in range(700):
        text.write(f"__attribute__((noinline)) static int f{number}(int x) {{ int i, s = {number}; for (i = 0; i < x; i++) "
                   f"s = s * {number % 31 + 3} + (i ^ {number}); return s % 7 ? s : x; }}\n")
    calls = " + ".join(f"f{number}(n)" for number in range(700))
    text.write(f'int main(int n, char **v) {{ printf("%d\\n", {calls}); return v[0] == NULL; }}\n')
    write(os.path.join(folder, "main.c"), text.getvalue().encode())


if __name__ == "__main__":
    what, *numbers, place = sys.argv[1:]
    {"files": files, "data": data, "layers": layers, "program": program}[what](*map(int, numbers), place)
