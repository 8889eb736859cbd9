#!/usr/bin/env python3
"""Writes the seeds of vector_file into corpus/vector_file: a request, and a small file of each format.

Only the standard library is used, and the same files come out each time.
"""
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'corpus', 'vector_file')
NPY, FVECS, RAW = 1, 2, 3
KIND, F16, ROWS, LARGE = 1, 2, 4, 8


def request(format, flags=0, dim=0, offset=0, rows=0, size=0):
    return struct.pack('<BBHIQQ', format, flags, dim, offset, rows, size)


def npy(version, text, body=b''):
    header = text.encode() + b' ' * (-(len(text) + 11) % 16) + b'\n'
    return b'\x93NUMPY' + struct.pack('<BBH' if version == 1 else '<BBI', version, 0, len(header)) + header + body


def dictionary(descr, shape, order='False'):
    return "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }" % (descr, order, shape)


def main():
    os.makedirs(HERE, exist_ok=True)
    fvecs = b''.join(struct.pack('<i3f', 3, i, i + 1, i + 2) for i in range(4))
    files = {
        'npy_f4': request(NPY) + npy(1, dictionary('<f4', '(3, 2)'), bytes(24)),
        'npy_f2_rows': request(NPY, KIND | F16 | ROWS, 2, rows=3) + npy(1, dictionary('<f2', '(5, 2)'), bytes(13)),
        'npy_version_2': request(NPY) + npy(2, dictionary('<f2', '(0, 16000)')),
        'npy_version_3': request(NPY, LARGE, size=1 << 40) + npy(3, dictionary('<f4', '(68719476, 384)')),
        'npy_python_2': request(NPY) + npy(1, dictionary('<f4', '(1L, 2L)'), bytes(8)),
        'npy_other_order': request(NPY) + npy(1, '{"shape":(1,1,),"descr":"<f4","fortran_order":False}', bytes(4)),
        'npy_fortran': request(NPY) + npy(1, dictionary('<f4', '(1, 2)', 'True'), bytes(8)),
        'npy_one_dimension': request(NPY) + npy(1, dictionary('>f8', '(7,)'), bytes(56)),
        'fvecs': request(FVECS) + fvecs,
        'fvecs_growing': request(FVECS, ROWS, 3, rows=2) + fvecs[:-5],
        'fvecs_large': request(FVECS, LARGE, size=16 << 36) + fvecs,
        'raw': request(RAW, KIND, 2, 1) + bytes(25),
        'raw_growing': request(RAW, KIND | F16 | ROWS, 2, 1, 3) + bytes(20),
    }
    for name, content in files.items():
        with open(os.path.join(HERE, name), 'wb') as file:
            file.write(content)


if __name__ == '__main__':
    main()
