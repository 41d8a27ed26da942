"""Giving freed memory back to the system while large tensors come and go."""

from __future__ import annotations

import ctypes
import sys

M_MMAP_THRESHOLD = -3  # glibc, malloc.h
BLOCK = 1 << 20  # bytes


def return_large_blocks() -> bool:
    """Makes the C library take blocks of 1 MiB and more from the system, and give them back.

    By default glibc raises that limit up to 32 MiB as a program frees blocks: weights and
    activations then stay in a heap that has holes but never shrinks, and compiling a network
    peaks at about twice the memory. A setting of the whole process, so only programs make it
    (the command line does), never the library. Returns whether it was made: glibc only.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return bool(ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, BLOCK))
    except (OSError, AttributeError):  # another C library
        return False
