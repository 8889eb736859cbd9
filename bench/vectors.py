"""Sets of vectors: reading, making and searching them exactly.  numpy only."""

import os

import numpy as np

import embed

TOLERANCE = 1e-6


class Collection:
    """What is searched (base) and what is searched for (queries), both float32."""

    def __init__(self, name, base, queries):
        if base.ndim != 2 or queries.ndim != 2 or base.shape[1] != queries.shape[1]:
            raise SystemExit(f"{name}: base {base.shape} and queries {queries.shape}"
                             " must be two matrices of equal width")
        self.name, self.base, self.queries = name, base, queries

    def describe(self):
        return {"name": self.name, "rows": len(self.base), "dimensions": self.base.shape[1],
                "queries": len(self.queries)}


# ---------------------------------------------------------------- sources


def read_vectors(path):
    """Reads a matrix from .npy (any float type) or .fvecs (int32 width, float32s, row by row)."""
    if path.endswith(".npy"):
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        if vectors.ndim != 2 or vectors.dtype.kind != "f":
            raise SystemExit(f"{path}: expected a matrix of floats, not {vectors.dtype} {vectors.shape}")
    elif path.endswith(".fvecs"):
        words = np.memmap(path, dtype="<i4", mode="r")
        width = int(words[0]) if len(words) else 0
        if not 0 < width <= 16000 or len(words) % (width + 1):
            raise SystemExit(f"{path}: not an .fvecs file of equal rows")
        rows = words.reshape(-1, width + 1)
        if (rows[:, 0] != width).any():
            raise SystemExit(f"{path}: rows of different widths")
        vectors = rows[:, 1:].view("<f4")
    else:
        raise SystemExit(f"{path}: expected a file named .npy or .fvecs")
    return vectors


def from_files(base_path, queries_path, n_queries, rows=None, seed=1):
    """The user's own data; without a file of queries, rows are held out of the base."""
    base = read_vectors(base_path)
    if queries_path:
        queries = read_vectors(queries_path)[:n_queries]
    else:
        chosen = np.random.default_rng(seed).permutation(len(base))[:min(n_queries, len(base) // 10)]
        queries = base[np.sort(chosen)]
        base = np.delete(base, chosen, axis=0)
    if rows:
        base = base[:rows]
    return Collection(os.path.basename(base_path), np.ascontiguousarray(base, dtype=np.float32),
                      np.ascontiguousarray(queries, dtype=np.float32))


def wordnet(directory, n_queries, rows=None, progress=lambda text: None):
    """WordNet's glosses (see embed.py), made in the directory unless they are there."""
    if not os.path.exists(os.path.join(directory, "model.npz")):
        embed.build(directory, progress)
    base = np.load(os.path.join(directory, "base.npy"))
    queries = np.load(os.path.join(directory, "queries.npy"))[:n_queries]
    if rows and rows < len(base):
        base = base[np.random.default_rng(1).permutation(len(base))[:rows]]
    return Collection("wordnet", base, queries)


def pairs(collection, rows, seed=1):
    """More of the same: the collection's rows and the normalised sums of two, as of a text of both.

    An embedding of a bag of words, without its norm, is the sum of its words'.
    """
    random = np.random.default_rng(seed)
    single = collection.base[:rows]
    made = np.empty((rows, single.shape[1]), dtype=np.float32)
    n = rows - len(single)
    for first in range(0, n, 50000):
        last = min(first + 50000, n)
        one, other = (random.integers(len(single), size=last - first) for _ in range(2))
        made[first:last] = single[one] + single[other]
        made[first:last] /= np.maximum(np.linalg.norm(made[first:last], axis=1, keepdims=True), 1e-9)
    made[n:] = single
    return Collection(f"{collection.name} and pairs of it", made[random.permutation(rows)], collection.queries)


def manifold(rows, dimensions, n_queries, latent=24, seed=1):
    """Points of a smooth random surface of few dimensions in a space of many.

    z ~ N(0, 1) of `latent` dimensions is mapped by two random layers,
    x = B tanh(A z + b): data as forgiving as that of many learned models.
    """
    random = np.random.default_rng(seed)
    hidden = 4 * latent
    inner = random.standard_normal((latent, hidden), dtype=np.float32) / np.float32(np.sqrt(latent))
    offset = random.standard_normal(hidden, dtype=np.float32) / 2
    outer = random.standard_normal((hidden, dimensions), dtype=np.float32) / np.float32(np.sqrt(hidden))

    def points(n):
        made = np.empty((n, dimensions), dtype=np.float32)
        for first in range(0, n, 65536):
            last = min(first + 65536, n)
            z = random.standard_normal((last - first, latent), dtype=np.float32)
            made[first:last] = np.tanh(z @ inner + offset) @ outer
        return made

    return Collection(f"manifold of {latent} dimensions", points(rows), points(n_queries))


# ---------------------------------------------------------------- exact search


def distances(metric, rows, queries):
    """Distances between rows[i, j] and queries[i], in float64: what the operators return."""
    rows, queries = rows.astype(np.float64), queries.astype(np.float64)[:, None, :]
    if metric == "l2":
        return np.sqrt(((rows - queries) ** 2).sum(axis=2))
    products = (rows * queries).sum(axis=2)
    if metric == "ip":
        return -products
    norms = np.linalg.norm(rows, axis=2) * np.linalg.norm(queries, axis=2)
    return 1 - products / np.where(norms > 0, norms, np.nan)


def exact_neighbours(collection, metric, k):
    """Returns (ids, distances) of every query's k nearest rows, nearest first.

    A shortlist is found block by block in float32, then ranked in float64.
    """
    base, queries = collection.base, collection.queries
    k = min(k, len(base))
    spare = min(len(base), k + 64)
    if metric == "cosine":
        base, queries = embed.unit(base), embed.unit(queries)
    ids = np.empty((len(queries), 0), dtype=np.int64)
    keys = np.empty((len(queries), 0), dtype=np.float32)
    for first in range(0, len(base), 16384):
        block = base[first:first + 16384]
        products = queries @ block.T
        block_keys = (block ** 2).sum(axis=1) - 2 * products if metric == "l2" else -products
        if block_keys.shape[1] > spare:
            chosen = np.argpartition(block_keys, spare - 1, axis=1)[:, :spare]
        else:
            chosen = np.broadcast_to(np.arange(block_keys.shape[1]), block_keys.shape)
        ids = np.hstack((ids, chosen + first))
        keys = np.hstack((keys, np.take_along_axis(block_keys, chosen, axis=1)))
        if ids.shape[1] > spare:
            kept = np.argpartition(keys, spare - 1, axis=1)[:, :spare]
            ids, keys = np.take_along_axis(ids, kept, axis=1), np.take_along_axis(keys, kept, axis=1)
    result_ids = np.empty((len(queries), k), dtype=np.int64)
    result_distances = np.empty((len(queries), k))
    for first in range(0, len(queries), 256):
        part = slice(first, first + 256)
        exact = distances(metric, collection.base[ids[part]], collection.queries[part])
        order = np.argsort(exact, axis=1, kind="stable")[:, :k]
        result_ids[part] = np.take_along_axis(ids[part], order, axis=1)
        result_distances[part] = np.take_along_axis(exact, order, axis=1)
    return result_ids, result_distances


def recall(collection, metric, answers, exact_distances, k):
    """The share of answers that are right, over all queries.

    answers[i, j] is a row of the base, or -1 where there is none.  An answer is
    right if its distance is within 1e-6 of the true k-th or less: with equal
    distances there is more than one right set.
    """
    answers = np.asarray(answers)[:, :k]
    worst = exact_distances[:, k - 1:k]
    found = distances(metric, collection.base[np.maximum(answers, 0)], collection.queries)
    right = (answers >= 0) & (found <= worst + TOLERANCE * np.maximum(1, np.abs(worst)))
    return float(right.sum() / (len(answers) * k))
