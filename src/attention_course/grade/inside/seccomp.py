"""The filter of system calls under which a student's code runs.

A short list of calls that no notebook needs and that reach other processes, the
kernel's less trodden paths or namespaces. They fail with EPERM.
"""

from __future__ import annotations

import platform
import struct

LD, JEQ, JSET, RET = 0x20, 0x15, 0x45, 0x06
JGE = 0x35
ALLOW, KILL = 0x7FFF0000, 0x80000000
ERRNO, EPERM, ENOSYS, EAFNOSUPPORT = 0x00050000, 1, 38, 97
NUMBER, ARCH, ARGUMENTS = 0, 4, 16
NAMESPACES = 0x7E020000
FAMILIES = (1, 2, 10)
"""Unix, IPv4 and IPv6: the network namespace leaves these nowhere to go. Others, like
AF_VSOCK, are not bound by namespaces."""

_SHARED = {
    "clone3": 435,
    "pidfd_getfd": 438,
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
    "process_madvise": 440,
    "memfd_secret": 447,
}
_X86_64 = {
    "clone": 56,
    "socket": 41,
    "prlimit64": 302,
    "ptrace": 101,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "kcmp": 312,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "bpf": 321,
    "perf_event_open": 298,
    "mount": 165,
    "umount2": 166,
    "pivot_root": 155,
    "chroot": 161,
    "unshare": 272,
    "setns": 308,
    "userfaultfd": 323,
    "personality": 135,
    "setpriority": 141,
    "ioprio_set": 251,
    "sched_setparam": 142,
    "sched_setscheduler": 144,
    "sched_setattr": 314,
    "kexec_load": 246,
    "init_module": 175,
    "finit_module": 313,
    "delete_module": 176,
    "syslog": 103,
    "acct": 163,
    "swapon": 167,
    "swapoff": 168,
    "reboot": 169,
    "quotactl": 179,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "fanotify_init": 300,
    "move_pages": 279,
    "migrate_pages": 256,
    "modify_ldt": 154,
    "iopl": 172,
    "ioperm": 173,
}
_AARCH64 = {
    "clone": 220,
    "socket": 198,
    "prlimit64": 261,
    "ptrace": 117,
    "process_vm_readv": 270,
    "process_vm_writev": 271,
    "kcmp": 272,
    "add_key": 217,
    "request_key": 218,
    "keyctl": 219,
    "bpf": 280,
    "perf_event_open": 241,
    "mount": 40,
    "umount2": 39,
    "pivot_root": 41,
    "chroot": 51,
    "unshare": 97,
    "setns": 268,
    "userfaultfd": 282,
    "personality": 92,
    "setpriority": 140,
    "ioprio_set": 30,
    "sched_setparam": 118,
    "sched_setscheduler": 119,
    "sched_setattr": 274,
    "kexec_load": 104,
    "init_module": 105,
    "finit_module": 273,
    "delete_module": 106,
    "syslog": 116,
    "acct": 89,
    "swapon": 224,
    "swapoff": 225,
    "reboot": 142,
    "quotactl": 60,
    "name_to_handle_at": 264,
    "open_by_handle_at": 265,
    "fanotify_init": 262,
    "move_pages": 239,
    "migrate_pages": 238,
}
_MACHINES = {
    "x86_64": (0xC000003E, _X86_64 | _SHARED),
    "aarch64": (0xC00000B7, _AARCH64 | _SHARED),
}
_WITH_ARGUMENTS = ("clone", "clone3", "socket", "prlimit64")


def filter_program(machine: str | None = None) -> bytes | None:
    """The BPF program for this kind of processor; None if it is not known here."""
    known = _MACHINES.get(machine or platform.machine())
    if known is None:
        return None
    arch, numbers = known
    code = [
        _load(ARCH),
        _jump(JEQ, arch, 1, 0),
        _return(KILL),
        _load(NUMBER),
        # x86-64 has a second table of the same calls, numbered from 2^30 on.
        _jump(JGE, 0x40000000, 0, 1),
        _return(ERRNO | ENOSYS),
    ]
    for name, number in numbers.items():
        if name not in _WITH_ARGUMENTS:
            code += [_jump(JEQ, number, 0, 1), _return(ERRNO | EPERM)]
    # glibc falls back to clone, whose flags can be looked at.
    code += [_jump(JEQ, numbers["clone3"], 0, 1), _return(ERRNO | ENOSYS)]
    code += [
        _jump(JEQ, numbers["clone"], 0, 4),
        _load(ARGUMENTS),
        _jump(JSET, NAMESPACES, 0, 1),
        _return(ERRNO | EPERM),
        _return(ALLOW),
        # Limits of oneself (pid 0) only: the supervisor has the same user.
        _jump(JEQ, numbers["prlimit64"], 0, 4),
        _load(ARGUMENTS),
        _jump(JEQ, 0, 1, 0),
        _return(ERRNO | EPERM),
        _return(ALLOW),
        _jump(JEQ, numbers["socket"], 0, 6),
        _load(ARGUMENTS),
        _jump(JEQ, FAMILIES[0], 3, 0),
        _jump(JEQ, FAMILIES[1], 2, 0),
        _jump(JEQ, FAMILIES[2], 1, 0),
        _return(ERRNO | EAFNOSUPPORT),
        _return(ALLOW),
        _return(ALLOW),
    ]
    return b"".join(code)


def _instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _load(offset: int) -> bytes:
    return _instruction(LD, offset)


def _jump(code: int, value: int, yes: int, no: int) -> bytes:
    return _instruction(code, value, yes, no)


def _return(value: int) -> bytes:
    return _instruction(RET, value)
