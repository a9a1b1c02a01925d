"""Keeps a process from the CPU's tile units (Intel AMX), which some runtimes use by default and lose by on small nets.

Not every runtime has a switch for it. But Linux hands the units out only on request (arch_prctl), and a runtime that is
refused takes its vector kernels; so the process denies itself that one system call with a seccomp filter.
"""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

NO_TILES = "no-tiles"

SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM = 158, 0x1023
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, FAIL_NOT_PERMITTED = 0x7FFF0000, 0x00050001
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER_OFFSET, FIRST_ARGUMENT_OFFSET = 0, 16

# (code, lines to skip where equal, where not, operand): refuse arch_prctl(ARCH_REQ_XCOMP_PERM, ...), allow the rest.
FILTER = [
    (LOAD_WORD, 0, 0, NUMBER_OFFSET),
    (JUMP_IF_EQUAL, 0, 3, SYS_ARCH_PRCTL),
    (LOAD_WORD, 0, 0, FIRST_ARGUMENT_OFFSET),
    (JUMP_IF_EQUAL, 0, 1, ARCH_REQ_XCOMP_PERM),
    (RETURN, 0, 0, FAIL_NOT_PERMITTED),
    (RETURN, 0, 0, ALLOW),
]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def forgo_tiles() -> None:
    """For this process and for good. x86-64 Linux only; `OSError` where the kernel has no seccomp."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in FILTER))
    program = _Program(len(FILTER), ctypes.cast(code, ctypes.c_void_p))
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "cannot keep this process from the tile units")


def cpu_has_tiles() -> bool:
    try:
        return "amx_int8" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
