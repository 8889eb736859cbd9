#!/usr/bin/env python3
"""What 016_graphs.pl needs from outside: graphs of the real hnswlib, and readers and
writers of its formats that share nothing with the extension.  Needs numpy.

    probe                        prints "hnswlib" if the library is here, else "numpy"
    make DIR SPACE N DIM M       vectors, queries, and a graph of them in every format
    recall DIR SPACE EF          the library's own recall on it (or this program's)
    check FILE DIR SPACE EF      recall of a file in either format; labels are rows
    npy FILE DIR DTYPE           compares a .npy file with the vectors

Recall is of 10 neighbours, over DIR/queries.npy.
"""
import heapq
import math
import os
import struct
import sys

import numpy as np

try:
    import hnswlib
except ImportError:
    hnswlib = None
if os.environ.get('HM_WITHOUT_HNSWLIB'):
    hnswlib = None


def distances(space, query, vectors):
    if space == 'l2':
        return ((vectors - query) ** 2).sum(1)
    if space == 'ip':
        return -(vectors @ query)
    return 1 - (vectors @ query) / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(query))


def load(directory):
    return (np.load(os.path.join(directory, 'vectors.npy')), np.load(os.path.join(directory, 'queries.npy')))


def exact(directory, space):
    vectors, queries = load(directory)
    return [set(np.argsort(distances(space, q, vectors), kind='stable')[:10].tolist()) for q in queries]


def recall(found, directory, space):
    truth = exact(directory, space)
    return sum(len(t & set(f)) for t, f in zip(truth, found)) / (10 * len(truth))


def numpy_graph(vectors, space, m):
    """Levels and lists by exact neighbours and HNSW's heuristic: a graph without the library."""
    n = len(vectors)
    rng = np.random.default_rng(5)
    levels = np.minimum((-np.log(rng.random(n)) / math.log(m)).astype(int), 5)
    lists = [[[] for _ in range(level + 1)] for level in levels]
    for level in range(levels.max() + 1):
        members = np.nonzero(levels >= level)[0]
        for i in members:
            far = distances(space, vectors[i], vectors[members])
            order = [k for k in np.argsort(far, kind='stable')[:12 * m] if members[k] != i]
            mine = lists[i][level]
            for k in order:
                j = members[k]
                if not mine or distances(space, vectors[j], vectors[mine]).min() >= far[k]:
                    mine.append(int(j))
                    if len(mine) == m:
                        break
    for level in range(levels.max() + 1):
        slots = 2 * m if level == 0 else m
        for i in range(n):
            for j in lists[i][level] if level <= levels[i] else []:
                if len(lists[j][level]) < slots and i not in lists[j][level]:
                    lists[j][level].append(i)
    return levels, lists, int(np.argmax(levels))


def library_graph(path, vectors, space, m):
    """The same by the library, through a file of its own format; without it, by numpy_graph."""
    n, dim = vectors.shape
    if not hnswlib:
        levels, lists, entry = numpy_graph(vectors, space, m)
        write_index(path, levels, lists, entry, m, vectors, range(n))
    else:
        index = hnswlib.Index(space=space, dim=dim)
        index.init_index(max_elements=n + 10, ef_construction=200, M=m, random_seed=3)
        index.set_num_threads(1)
        index.add_items(vectors, list(range(n)))
        index.save_index(path)
        levels, lists, entry, _, labels, _ = read(path)
        assert labels == list(range(n))
    return np.array(levels), lists, entry


def write_graph(path, levels, lists, entry, m, dim, labels, deleted=()):
    """save_graph of hnswlib-mmap."""
    n = len(levels)
    with open(path, 'wb') as file:
        file.write(struct.pack('<IQQQQQQdiIQ', 0x47524150, n, n, m, m, 2 * m, 200, 1 / math.log(m),
                               int(levels.max()), entry, 4 * dim))
        for i in range(n):
            links = lists[i][0]
            file.write(struct.pack('<I%dIQ' % (2 * m), len(links) | (0x10000 if i in deleted else 0), *links,
                                   *[0xDEAD] * (2 * m - len(links)), labels[i]))
        for i in range(n):
            file.write(struct.pack('<I', levels[i] * (4 + 4 * m)))
            for links in lists[i][1:]:
                file.write(struct.pack('<I%dI' % m, len(links), *links, *[0xDEAD] * (m - len(links))))


def write_index(path, levels, lists, entry, m, vectors, labels):
    """save_index of hnswlib."""
    n, dim = vectors.shape
    size = 4 + 8 * m + 4 * dim + 8
    with open(path, 'wb') as file:
        file.write(struct.pack('<QQQQQQiIQQQdQ', 0, n, n, size, size - 8, 4 + 8 * m, int(levels.max()), entry,
                               m, 2 * m, m, 1 / math.log(m), 200))
        for i in range(n):
            links = lists[i][0]
            file.write(struct.pack('<I%dI' % (2 * m), len(links), *links, *[0] * (2 * m - len(links))))
            file.write(vectors[i].astype('<f4').tobytes() + struct.pack('<Q', labels[i]))
        for i in range(n):
            file.write(struct.pack('<I', levels[i] * (4 + 4 * m)))
            for links in lists[i][1:]:
                file.write(struct.pack('<I%dI' % m, len(links), *links, *[0] * (m - len(links))))


def read(path):
    """Either format: levels, lists, entry, m, labels, deleted."""
    data = open(path, 'rb').read()
    if struct.unpack_from('<I', data)[0] == 0x47524150:
        _, _, n, m, upper, base, _, _, top, entry, _ = struct.unpack_from('<IQQQQQQdiIQ', data)
        at, size = 76, 4 + 8 * m + 8
    else:
        zero, _, n, size, label_at, data_at, top, entry, upper, base, m, _, _ = struct.unpack_from('<QQQQQQiIQQQdQ', data)
        assert zero == 0 and data_at == 4 + 8 * m and label_at + 8 == size
        at = 96
    assert upper == m and base == 2 * m
    lists, labels, deleted = [], [], set()
    for i in range(n):
        head, = struct.unpack_from('<I', data, at)
        degree = head & 0xFFFF
        assert degree <= 2 * m
        lists.append([list(struct.unpack_from('<%dI' % degree, data, at + 4))])
        labels.append(struct.unpack_from('<Q', data, at + size - 8)[0])
        if head & 0x10000:
            deleted.add(i)
        at += size
    levels = []
    for i in range(n):
        length, = struct.unpack_from('<I', data, at)
        assert length % (4 + 4 * m) == 0
        levels.append(length // (4 + 4 * m))
        at += 4
        for _ in range(levels[i]):
            degree, = struct.unpack_from('<I', data, at)
            assert degree <= m
            lists[i].append(list(struct.unpack_from('<%dI' % degree, data, at + 4)))
            at += 4 + 4 * m
    assert at == len(data), 'the file ends where it should'
    assert levels[entry] == top == max(levels)
    assert len(set(labels)) == n
    for i in range(n):
        for level, links in enumerate(lists[i]):
            assert i not in links and len(set(links)) == len(links)
            assert all(levels[to] >= level for to in links)
    return levels, lists, entry, m, labels, deleted


def search(graph, vectors, space, query, ef):
    levels, lists, entry, _, labels, deleted = graph
    rows = np.array(labels)

    def far(ids):
        return distances(space, query, vectors[rows[ids]])

    best, at = float(far([entry])[0]), entry
    for level in range(levels[entry], 0, -1):
        moved = True
        while moved:
            moved = False
            links = lists[at][level]
            if links:
                d = far(links)
                if d.min() < best:
                    best, at, moved = float(d.min()), links[int(d.argmin())], True
    seen = {at}
    candidates, found = [(best, at)], [(-best, at)]
    while candidates:
        d, at = heapq.heappop(candidates)
        if len(found) >= ef and d > -found[0][0]:
            break
        links = [i for i in lists[at][0] if i not in seen]
        seen.update(links)
        for e, i in zip(far(links) if links else [], links):
            if len(found) < ef or e < -found[0][0]:
                heapq.heappush(candidates, (float(e), i))
                heapq.heappush(found, (-float(e), i))
                if len(found) > ef:
                    heapq.heappop(found)
    return [labels[i] for _, i in sorted(found, reverse=True) if i not in deleted][:10]


def make(directory, space, n, dim, m):
    rng = np.random.default_rng(7)
    os.makedirs(directory, exist_ok=True)
    # lengths that differ, so that the three metrics do too
    vectors = rng.standard_normal((n, dim)) * rng.lognormal(0, 0.7, (n, 1)) + rng.standard_normal(dim) * 0.2
    vectors = vectors.astype('f4')
    queries = (vectors[rng.choice(n, 60, replace=False)] + 0.3 * rng.standard_normal((60, dim))).astype('f4')
    np.save(os.path.join(directory, 'vectors.npy'), vectors)
    np.save(os.path.join(directory, 'queries.npy'), queries)
    for name, rows in ('vectors', vectors), ('queries', queries):
        with open(os.path.join(directory, name + '.txt'), 'w') as file:
            for i, row in enumerate(rows):
                file.write('%d\t{%s}\n' % (i, ','.join(repr(float(x)) for x in row)))

    levels, lists, entry = library_graph(os.path.join(directory, 'library.index'), vectors, space, m)
    write_graph(os.path.join(directory, 'library.graph'), levels, lists, entry, m, dim, range(n))
    write_graph(os.path.join(directory, 'deleted.graph'), levels, lists, entry, m, dim, range(n), set(range(0, n, 4)))

    # a sharded index: two graphs with labels of their own
    shards = os.path.join(directory, 'shards')
    os.makedirs(shards, exist_ok=True)
    cut = 2 * n // 3
    for number, (start, end) in enumerate(((0, cut), (cut, n))):
        levels, lists, entry = library_graph(os.path.join(shards, 'shard.index'), vectors[start:end], space, m)
        write_graph(os.path.join(shards, 'shard_%d.graph' % number), levels, lists, entry, m, dim, range(end - start))
        with open(os.path.join(shards, 'shard_%d.meta' % number), 'wb') as file:
            file.write(struct.pack('<QQQ', start, end, end - start))
    with open(os.path.join(shards, 'index.meta'), 'wb') as file:
        file.write(struct.pack('<IQQQQQQ', 0x53484458, 2, n, dim, m, 200, len(space)) + space.encode())


def main():
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == 'probe':
        print('hnswlib' if hnswlib else 'numpy')
    elif command == 'make':
        directory, space, n, dim, m = arguments
        make(directory, space, int(n), int(dim), int(m))
    elif command in ('recall', 'check'):
        path = os.path.join(arguments[0], 'library.index') if command == 'recall' else arguments.pop(0)
        directory, space, ef = arguments
        vectors, queries = load(directory)
        graph = read(path)
        with open(path, 'rb') as file:
            with_vectors = file.read(4) == b'\0\0\0\0'
        if hnswlib and with_vectors:
            index = hnswlib.Index(space=space, dim=vectors.shape[1])
            index.load_index(path)
            index.set_ef(int(ef))
            found = index.knn_query(queries, 10)[0].tolist()
        else:
            found = [search(graph, vectors, space, q, int(ef)) for q in queries]
        print('%.4f' % recall(found, directory, space))
    elif command == 'npy':
        path, directory, dtype = arguments
        vectors, _ = load(directory)
        exported = np.load(path)
        assert exported.dtype == np.dtype('<' + dtype), exported.dtype
        assert exported.shape == vectors.shape, exported.shape
        assert np.array_equal(exported, vectors.astype('<' + dtype))
        print('same')


if __name__ == '__main__':
    main()
