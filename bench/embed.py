#!/usr/bin/env python3
"""Embeds WordNet's glosses: 117,659 short English texts as 384-dimensional unit vectors.

The demo and the benchmark need real text embeddings, and must not download a
model.  Latent semantic analysis gives them from nothing but Debian's packages
wordnet-base and python3-numpy, in about half a minute on two cores:

  1. A text is a synset: its words, its definition, its examples, and the words
     of the next broader synset (a whale is a cetacean).  Words are lower-cased
     and stripped of the commonest English endings.
  2. Each text becomes a sparse row of TF-IDF weights, ln(1 + tf) * ln(N / df),
     where a headword counts three times and a word of an example half.  Terms
     found in more than one text of fifty are weighted down further, and terms
     found in one text only left out.  A row has unit length.
  3. The rows are projected on the 384 leading right singular vectors of their
     matrix, and normalised again.  The singular vectors come from randomised
     block power iteration (Halko, Martinsson and Tropp, "Finding structure with
     randomness", SIAM Review 53(2), 2011, algorithm 4.4, applied to the rows'
     Gram operator, with Cholesky QR and a Rayleigh-Ritz step at the end).

Everything is seeded: the same machine makes the same vectors every time.

A new text is embedded by steps 1 to 3 with the weights and the projection of
the collection, so `Embedder.embed("a large marine mammal")` searches it.  In the end about 0.70
separates a query from its tenth neighbour, where two random texts lie 1.40
apart: a hard set, of high intrinsic dimension, as real embeddings are.

1,000 synsets, chosen at random, take part in nothing but the queries: they are
not among the vectors to be searched.

    bench/embed.py OUTPUT_DIRECTORY

writes base.npy (116,659 x 384, float32), queries.npy (1,000 x 384, float32),
texts.tsv and queries.tsv (line i describes row i: words, tab, gloss), and
model.npz, from which Embedder.load() embeds further texts.
"""

import argparse
import os
import re
import sys
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import numpy as np

WORDNET = "/usr/share/wordnet"
DIMENSIONS = 384
HELD_OUT = 1000
SEED = 20240601

HEADWORD_WEIGHT = 3.0
BROADER_WEIGHT = 1.0
EXAMPLE_WEIGHT = 0.5
COMMON = 50                 # a term in more than one text of so many is common
OVERSAMPLING = 32           # extra columns that make the leading ones converge
POWER_ITERATIONS = 4

THREADS = max(1, len(os.sched_getaffinity(0)))

# ---------------------------------------------------------------- the texts


Text = namedtuple("Text", "words gloss broader")


def read_wordnet(directory=WORDNET):
    """Returns every synset as a Text, in the order of WordNet's files.

    The format is wndb(5): a data line is "offset file type count word id word
    id ... count symbol offset type fields ... | gloss".  The first count is
    hexadecimal, the second decimal; licence lines start with a blank.  The
    pointers followed are hypernyms (@, @i) and, of adjectives, the head of
    the cluster (&); a satellite adjective's type s is found in data.adj too.
    """
    synsets, number = [], {}
    for part in ("noun", "verb", "adj", "adv"):
        path = os.path.join(directory, "data." + part)
        with open(path, encoding="latin-1") as lines:
            for line in lines:
                if line.startswith(" "):
                    continue
                data, _, gloss = line.partition("|")
                fields = data.split()
                end = 4 + 2 * int(fields[3], 16)
                words = [re.sub(r"\(\w+\)$", "", word).replace("_", " ")
                         for word in fields[4:end:2]]
                pointers = fields[end + 1:end + 1 + 4 * int(fields[end])]
                broader = [(kind.replace("s", "a"), offset)
                           for symbol, offset, kind in zip(pointers[::4], pointers[1::4], pointers[2::4])
                           if symbol in ("@", "@i", "&")]
                number[fields[2].replace("s", "a"), fields[0]] = len(synsets)
                synsets.append((words, gloss.strip(), broader))
    return [Text(", ".join(words), gloss,
                 ", ".join(word for target in broader[:2] for word in synsets[number[target]][0]))
            for words, gloss, broader in synsets]


# ---------------------------------------------------------------- the terms

_ENDINGS = (
    # (ending, replacement, shortest stem that may remain), first match wins
    ("iveness", "ive", 3), ("fulness", "ful", 3), ("ousness", "ous", 3),
    ("ational", "ate", 3), ("ization", "ize", 3), ("ations", "ate", 3),
    ("ation", "ate", 3), ("ically", "ic", 3), ("ingly", "", 4),
    ("ness", "", 4), ("sses", "ss", 2), ("ies", "y", 2), ("ied", "y", 2),
    ("ings", "", 4), ("ing", "", 4), ("edly", "", 4), ("eds", "", 4), ("ed", "", 4),
    ("ers", "er", 3), ("ly", "", 4), ("ches", "ch", 2), ("shes", "sh", 2),
    ("xes", "x", 2), ("ss", "ss", 1), ("us", "us", 1), ("is", "is", 1), ("s", "", 3),
)

_stems = {}


def stem(word):
    """Strips the commonest endings: whales, whaling and whale meet in 'whal'."""
    known = _stems.get(word)
    if known is not None:
        return known
    result = word
    for ending, replacement, shortest in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= shortest:
            result = word[:len(word) - len(ending)] + replacement
            break
    if len(result) > 4 and result[-1] == result[-2] and result[-1] not in "aeiouls":
        result = result[:-1]                    # runn(ing) -> run
    elif len(result) > 4 and result.endswith("e"):
        result = result[:-1]
    _stems[word] = result
    return result


_WORD = re.compile(r"[a-z]+|[0-9]+")


def weighted_terms(text):
    """Returns {term: weighted count} of one Text."""
    counts = {}
    parts = [(text.words, HEADWORD_WEIGHT), (text.broader, BROADER_WEIGHT)]
    parts += [(part, EXAMPLE_WEIGHT if i % 2 else 1.0)      # examples stand in quotes
              for i, part in enumerate(text.gloss.split('"'))]
    for part, weight in parts:
        for word in _WORD.findall(part.lower()):
            term = stem(word)
            counts[term] = counts.get(term, 0.0) + weight
    return counts


# ---------------------------------------------------------------- sparse rows


class SparseRows:
    """A sparse matrix by rows, and its product with a dense one."""

    def __init__(self, starts, columns, values, n_columns):
        self.starts = starts                    # row i: starts[i] .. starts[i + 1]
        self.columns = columns
        self.values = values
        self.shape = (len(starts) - 1, n_columns)

    def transposed(self):
        rows = np.repeat(np.arange(self.shape[0], dtype=np.int32), np.diff(self.starts))
        order = np.argsort(self.columns, kind="stable")
        counts = np.bincount(self.columns, minlength=self.shape[1])
        starts = np.concatenate(([0], np.cumsum(counts)))
        return SparseRows(starts, rows[order], self.values[order], self.shape[0])

    def __matmul__(self, dense):
        product = np.empty((self.shape[0], dense.shape[1]), dtype=np.float32)

        def one_block(bounds):
            first, last = bounds
            low, high = self.starts[first], self.starts[last]
            terms = dense[self.columns[low:high]]
            terms *= self.values[low:high, None]
            filled = np.flatnonzero(np.diff(self.starts[first:last + 1]))
            block = product[first:last]
            block[:] = 0
            if len(filled):
                block[filled] = np.add.reduceat(terms, self.starts[first + filled] - low, axis=0)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(one_block, self._blocks(2048)))
        return product

    def _blocks(self, entries):
        """Cuts the rows into blocks of about so many entries: they fit the cache."""
        first, n = 0, self.shape[0]
        while first < n:
            last = int(np.searchsorted(self.starts, self.starts[first] + entries))
            last = min(max(last, first + 1), n)
            yield first, last
            first = last


def orthonormal(columns):
    """Cholesky QR, twice for accuracy: columns spanning the same space."""
    for _ in range(2):
        gram = (columns.T @ columns).astype(np.float64)
        gram[np.diag_indices_from(gram)] += 1e-7 * np.trace(gram) / len(gram)
        upper = np.linalg.cholesky(gram).T
        columns = columns @ np.linalg.inv(upper).astype(np.float32)
    return columns


def leading_right_singular_vectors(matrix, k, seed):
    """Returns (vectors, singular values): n_columns x k and k."""
    transposed = matrix.transposed()
    random = np.random.default_rng(seed)
    width = min(k + OVERSAMPLING, matrix.shape[1])
    basis = random.standard_normal((matrix.shape[1], width), dtype=np.float32)
    for _ in range(POWER_ITERATIONS):
        basis = transposed @ (matrix @ orthonormal(basis))
    basis = orthonormal(basis)
    image = transposed @ (matrix @ basis)
    squares, rotation = np.linalg.eigh((basis.T @ image).astype(np.float64))
    largest = np.argsort(squares)[::-1][:k]
    vectors = basis @ rotation[:, largest].astype(np.float32)
    # A singular vector's sign is arbitrary: fix it, so that a run can be repeated.
    signs = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(largest))])
    return vectors * signs, np.sqrt(np.maximum(squares[largest], 0)).astype(np.float32)


# ---------------------------------------------------------------- embeddings


def unit(rows):
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


class Embedder:
    """Terms, their weights and the projection; made from a collection of texts."""

    def __init__(self, terms, idf, projection):
        self.terms = terms                      # {term: column}
        self.idf = idf
        self.projection = projection            # columns x dimensions

    @classmethod
    def fit(cls, texts, dimensions=DIMENSIONS, seed=SEED):
        """Returns (embedder, vectors of the texts)."""
        counted = [weighted_terms(text) for text in texts]
        frequency = {}
        for counts in counted:
            for term in counts:
                frequency[term] = frequency.get(term, 0) + 1
        terms = {term: i for i, term in
                 enumerate(sorted(t for t, n in frequency.items() if n > 1))}
        idf = np.log(len(texts) / np.array([frequency[term] for term in terms]))
        idf *= np.minimum(1, idf / np.log(COMMON)) ** 2
        embedder = cls(terms, idf.astype(np.float32), None)
        matrix = embedder._rows(counted)
        embedder.projection, _ = leading_right_singular_vectors(matrix, dimensions, seed)
        return embedder, unit(matrix @ embedder.projection)

    def _rows(self, counted):
        lengths, columns, values = [], [], []
        for counts in counted:
            known = [(self.terms[t], n) for t, n in counts.items() if t in self.terms]
            lengths.append(len(known))
            columns.extend(column for column, _ in known)
            values.extend(n for _, n in known)
        starts = np.concatenate(([0], np.cumsum(lengths)))
        columns = np.array(columns, dtype=np.int32)
        # Half a mention (in an example) still counts for something: ln(1 + n), not 1 + ln(n).
        values = np.log1p(np.array(values, dtype=np.float32)) * self.idf[columns]
        rows = np.repeat(np.arange(len(counted)), lengths)
        norms = np.sqrt(np.bincount(rows, values.astype(np.float64) ** 2, minlength=len(counted)))
        values = (values / norms[rows]).astype(np.float32)
        return SparseRows(starts, columns, values, len(self.terms))

    def embed_texts(self, texts):
        return unit(self._rows([weighted_terms(text) for text in texts]) @ self.projection)

    def embed(self, text):
        """Returns the vector of one text, e.g. a word; zeros if every word is unknown."""
        return self.embed_texts([Text("", text, "")])[0]

    def save(self, path):
        np.savez(path, terms=np.array(list(self.terms)), idf=self.idf, projection=self.projection)

    @classmethod
    def load(cls, path):
        model = np.load(path)
        terms = {term: i for i, term in enumerate(model["terms"].tolist())}
        return cls(terms, model["idf"], model["projection"])


def build(directory, progress=lambda text: None):
    """Writes base.npy, queries.npy, texts.tsv, queries.tsv and model.npz to the directory."""
    os.makedirs(directory, exist_ok=True)
    synsets = read_wordnet()
    chosen = np.random.default_rng(SEED).permutation(len(synsets))[:HELD_OUT]
    held_out = set(chosen.tolist())
    base = [text for i, text in enumerate(synsets) if i not in held_out]
    queries = [synsets[i] for i in chosen]
    progress(f"{len(base):,} texts read from WordNet, {len(queries):,} more kept for queries")

    embedder, vectors = Embedder.fit(base)
    np.save(os.path.join(directory, "base.npy"), vectors)
    np.save(os.path.join(directory, "queries.npy"), embedder.embed_texts(queries))
    embedder.save(os.path.join(directory, "model.npz"))
    for name, texts in (("texts.tsv", base), ("queries.tsv", queries)):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as out:
            out.writelines(f"{text.words}\t{text.gloss}\n" for text in texts)
    progress(f"{vectors.shape[0]:,} vectors of {vectors.shape[1]} dimensions made"
             f" from {len(embedder.terms):,} terms")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", metavar="OUTPUT_DIRECTORY")
    arguments = parser.parse_args()
    started = time.monotonic()
    build(arguments.directory,
          lambda text: print(f"{time.monotonic() - started:5.1f} s  {text}", file=sys.stderr))


if __name__ == "__main__":
    main()
