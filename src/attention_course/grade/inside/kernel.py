"""System calls that Python 3.11 does not have: namespaces, mounts, capabilities."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
LAST_CAPABILITY = 63
HUGE = 2 * 2**20
MADV_COLLAPSE = 25
_NO_ROOT_AND_LOCKED = 0x2F  # NOROOT, NO_SETUID_FIXUP, KEEP_CAPS locked off

_libc = ctypes.CDLL(None, use_errno=True)


def _done(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Leave the caller's namespaces named by `flags` for new ones."""
    _done(_libc.unshare(flags), "unshare")


def mount(
    source: str | None,
    target: str,
    kind: str | None = None,
    flags: int = 0,
    data: str | None = None,
) -> None:
    """mount(2)."""
    args = [None if a is None else a.encode() for a in (source, target, kind)]
    text = None if data is None else data.encode()
    _done(_libc.mount(*args, ctypes.c_ulong(flags), text), f"mount {target}")


def use_huge_pages() -> None:
    """Put this process's own memory on huge pages where the kernel can (Linux 6.1).

    A fork then copies a few hundred entries of the page table, not a hundred thousand.
    """
    start = ctypes.c_void_p
    for low, high in _own_memory():
        for address in range(-(-low // HUGE) * HUGE, high - HUGE + 1, HUGE):
            _libc.madvise(start(address), ctypes.c_size_t(HUGE), MADV_COLLAPSE)


def _own_memory() -> list[tuple[int, int]]:
    """The ranges of addresses that are writable and of no file."""
    found = []
    with open("/proc/self/maps", encoding="ascii") as file:
        for line in file:
            place, rights, _, _, _, *name = line.split()
            if rights.startswith("rw") and (not name or name == ["[heap]"]):
                low, _, high = place.partition("-")
                found.append((int(low, 16), int(high, 16)))
    return found


def prctl(option: int, *values: int) -> None:
    """prctl(2); arguments that are not given are 0."""
    given = [ctypes.c_ulong(v) for v in (*values, 0, 0, 0, 0)[:4]]
    _done(_libc.prctl(option, *given), f"prctl {option}")


def set_filter(program: bytes) -> None:
    """Install a seccomp filter (an array of 8-byte BPF instructions) for good."""

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]

    made = Program(len(program) // 8, program)
    set_seccomp, mode_filter = 22, 2
    result = _libc.prctl(
        set_seccomp, ctypes.c_ulong(mode_filter), ctypes.byref(made), 0, 0
    )
    _done(result, "seccomp")


def drop_capabilities() -> None:
    """Give up every capability, for this process and all that it starts."""
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(LAST_CAPABILITY + 1):
        if _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break  # beyond this kernel's last one, or not ours to drop
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    none = (ctypes.c_uint32 * 6)()
    _done(_libc.capset(ctypes.byref(header), ctypes.byref(none)), "capset")


def become(uid: int) -> None:
    """Be another user with no groups (root only)."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    prctl(PR_SET_DUMPABLE, 1)  # a change of user hides /proc/self from its owner


def fresh_namespaces(inner_uid: int, network: bool = True) -> None:
    """Enter new namespaces of every kind; the caller's user becomes `inner_uid`.

    The next child is the first process of the new PID namespace.
    """
    uid, gid = os.getuid(), os.getgid()
    unshare(CLONE_NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{inner_uid} {uid} 1"),
        ("gid_map", f"{inner_uid} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    unshare(
        CLONE_NEWNS
        | CLONE_NEWPID
        | CLONE_NEWNET * network
        | CLONE_NEWIPC
        | CLONE_NEWUTS
        | CLONE_NEWCGROUP
    )


def close_all_but(keep: set[int]) -> None:
    """Close every descriptor from 3 on but those in `keep`."""
    low = 3
    for fd in sorted(keep):
        if fd >= low:
            os.closerange(low, fd)
            low = fd + 1
    largest = 2**20
    if _libc.close_range(low, 2**31, 0) != 0:
        os.closerange(low, largest)
