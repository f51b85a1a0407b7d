"""A classic BPF machine for seccomp programs (Documentation/networking/filter.rst, struct seccomp_data)."""

from __future__ import annotations

import struct

MASK = 0xFFFFFFFF
ALLOW = 0x7FFF0000
ERRNO = 0x00050000
KILL = 0x00000000
LOG = 0x7FFC0000
NOTIFY = 0x7FC00000
ENOSYS = ERRNO | 38
X86_64, X86, AARCH64, S390X = 0xC000003E, 0x40000003, 0xC00000B7, 0x80000016
X32_BIT = 0x40000000

LOAD, LOAD_IMMEDIATE, STORE, LOAD_MEMORY, RETURN, RETURN_A = 0x20, 0x00, 0x02, 0x60, 0x06, 0x16
JUMPS = {
    0x05: None,
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x35: lambda a, k: a >= k,
    0x45: lambda a, k: bool(a & k),
}
AND = 0x54


def decode(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("=HBBI", program))


def run(program: bytes, arch: int, number: int, arguments: tuple[int, ...] = ()) -> int:
    """What the kernel gets from `program` for one system call. Raises on what the kernel would refuse."""
    padded = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("=IIQ6Q", number & MASK, arch, 0, *padded)
    code = decode(program)
    at, accumulator = 0, 0
    memory = [0] * 16
    while True:
        operation, if_true, if_false, k = code[at]
        at += 1
        if operation == LOAD:
            (accumulator,) = struct.unpack_from("=I", data, k)
        elif operation == LOAD_IMMEDIATE:
            accumulator = k
        elif operation == STORE:
            memory[k] = accumulator
        elif operation == LOAD_MEMORY:
            accumulator = memory[k]
        elif operation == AND:
            accumulator &= k
        elif operation == RETURN:
            return k
        elif operation == RETURN_A:
            return accumulator
        elif operation in JUMPS:
            test = JUMPS[operation]
            at += k if test is None else if_true if test(accumulator, k) else if_false
        else:
            raise AssertionError(f"instruction {operation:#x} at {at - 1}")
