#!/usr/bin/env python3
"""Writes the seeds of graph_file into corpus/graph_file: small files of each format.

Only the standard library is used, and the same files come out each time.
"""
import math
import os
import random
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'corpus', 'graph_file')


def graph(kind, count, m, dim, top):
    """A graph of random links in the format of save_graph or save_index."""
    rng = random.Random(count * 1000 + m)
    levels = [min(top, int(-math.log(rng.random()) / math.log(m))) for _ in range(count)]
    entry = 0
    if count:
        levels[0] = top
    else:
        top, entry = -1, 0xFFFFFFFF

    def one(level, flags=0):
        slots = m if level else 2 * m
        to = [i for i in range(count) if levels[i] >= level]
        links = rng.sample(to, min(len(to), rng.randrange(slots + 1)))
        return struct.pack('<I%dI' % slots, len(links) | flags, *links, *[0] * (slots - len(links)))

    mult = 1 / math.log(m)
    if kind == 'graph':
        out = struct.pack('<IQQQQQQdiIQ', 0x47524150, count, count, m, m, 2 * m, 100, mult, top, entry, 4 * dim)
    else:
        size = 4 + 8 * m + 4 * dim + 8
        out = struct.pack('<QQQQQQiIQQQdQ', 0, count, count, size, size - 8, 4 + 8 * m, top, entry, m, 2 * m, m, mult, 100)
    for i in range(count):
        out += one(0, 0x10000 if i % 7 == 3 else 0)
        if kind == 'index':
            out += struct.pack('<%df' % dim, *[rng.uniform(-1, 1) for _ in range(dim)])
        out += struct.pack('<Q', 10 * i)
    for i in range(count):
        lists = b''.join(one(level) for level in range(1, levels[i] + 1))
        out += struct.pack('<I', len(lists)) + lists
    return out


def main():
    os.makedirs(HERE, exist_ok=True)
    files = {
        'graph_empty': graph('graph', 0, 4, 2, 0),
        'graph_one': graph('graph', 1, 2, 2, 0),
        'graph_12': graph('graph', 12, 2, 3, 2),
        'graph_levels': graph('graph', 4, 2, 1, 18),
        'index_empty': graph('index', 0, 4, 2, 0),
        'index_9': graph('index', 9, 3, 2, 1),
        'shards': struct.pack('<IQQQQQQ', 0x53484458, 2, 100, 8, 16, 200, 6) + b'cosine',
        'shard': struct.pack('<QQQ', 0, 50, 50),
    }
    for name, content in files.items():
        with open(os.path.join(HERE, name), 'wb') as file:
            file.write(content)


if __name__ == '__main__':
    main()
