"""The device program, run by a small BPF interpreter, decides as the emulator does."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from libcontainer.cgroups.devices import ALL, ANY, Emulator
from libcontainer.cgroups.ebpf import DEVICE_TYPE, assemble

NUMBERS = st.sampled_from([ANY, 0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE])
NODES = st.tuples(st.sampled_from("bc"), NUMBERS, NUMBERS)
STATES = st.tuples(st.booleans(), st.dictionaries(NODES, st.integers(1, ALL), max_size=6))
ASKED = st.tuples(
    st.sampled_from("bc"), *[st.sampled_from([0, 1, 7, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE])] * 2
)
U32 = 0xFFFFFFFF


def run(program: bytes, context: bytes) -> int:
    """The instructions that the compiler knows, as the kernel's manual defines them (bpf/standardization)."""
    registers: list[int | None] = [None] * 11
    registers[1] = 0
    at = 0
    for _ in range(len(program) // 8 + 1):
        opcode, pair, offset, constant = struct.unpack_from("=BBhI", program, at * 8)
        dst, src = pair & 15, pair >> 4
        at += 1
        if opcode == 0x95:
            assert registers[0] is not None
            return registers[0]
        if opcode == 0x61:
            base = registers[src]
            assert base is not None
            registers[dst] = struct.unpack_from("=I", context, base + offset)[0]
        elif opcode == 0xB4:
            registers[dst] = constant
        elif opcode == 0xBC:
            assert registers[src] is not None
            registers[dst] = registers[src]
        else:
            value = registers[dst]
            assert value is not None, "uninitialised register"
            if opcode == 0x54:
                registers[dst] = value & constant
            elif opcode == 0x74:
                registers[dst] = value >> constant
            elif opcode in (0x16, 0x56):
                assert offset > 0
                if (value & U32 == constant) == (opcode == 0x16):
                    at += offset
            else:
                raise AssertionError(f"unknown opcode {opcode:#x}")
    raise AssertionError("does not end")


def build(state: tuple[bool, dict[tuple[str, int, int], int]]) -> Emulator:
    emulator = Emulator(default_allow=state[0])
    emulator.exceptions.update(state[1])
    return emulator


@given(STATES, ASKED, st.integers(1, ALL))
def test_decides_as_the_emulator(
    state: tuple[bool, dict[tuple[str, int, int], int]], device: tuple[str, int, int], access: int
) -> None:
    emulator = build(state)
    context = struct.pack("=III", access << 16 | DEVICE_TYPE[device[0]], device[1], device[2])
    assert run(assemble(emulator), context) == int(emulator.allows(device, access))


@given(STATES)
def test_every_jump_stays_in_the_program_and_lands_on_a_block(
    state: tuple[bool, dict[tuple[str, int, int], int]],
) -> None:
    program = assemble(build(state))
    size = len(program) // 8
    for index in range(size):
        opcode, _, offset, _ = struct.unpack_from("=BBhI", program, index * 8)
        if opcode in (0x16, 0x56):
            target = index + 1 + offset
            assert target < size
            assert program[(target - 1) * 8] == 0x95, "a jump skips the rest of its block"
    assert program[(size - 1) * 8] == 0x95
