"""The numbers of a minidump in the words people search for: systems, processors, why it crashed. Tables, mostly.

Windows: ntstatus.h and winnt.h. Linux: signal(7) and sigaction(2). Apple: exception_types.h and kern_return.h.
"""

from __future__ import annotations

from typing import Final

from workers.normalise.minidump.file import Crash, DumpSystem

WINDOWS: Final = frozenset({1, 2, 3})
APPLE: Final = frozenset({0x8101, 0x8102})
UNIX: Final = frozenset({0x8000, 0x8201, 0x8203})

_SYSTEMS: Final = {
    1: "Windows", 2: "Windows", 3: "Windows", 0x8000: "Unix", 0x8101: "macOS", 0x8102: "iOS", 0x8201: "Linux",
    0x8202: "Solaris", 0x8203: "Android", 0x8204: "PS3", 0x8205: "NaCl", 0x8206: "Fuchsia",
}  # fmt: skip
_PROCESSORS: Final = {
    0: "x86", 1: "mips", 3: "ppc", 5: "arm", 6: "ia64", 9: "x86_64", 10: "x86", 12: "arm64", 0x8001: "sparc",
    0x8002: "ppc64", 0x8003: "arm64", 0x8004: "mips64", 0x8005: "riscv", 0x8006: "riscv64",
}  # fmt: skip

_ACCESS_VIOLATION: Final = 0xC0000005
_IN_PAGE_ERROR: Final = 0xC0000006
_FAST_FAIL: Final = 0xC0000409
_ACCESS: Final = {0: "READ", 1: "WRITE", 8: "EXEC"}
_FAST_FAILS: Final = {
    0: "FAST_FAIL_LEGACY_GS_VIOLATION", 2: "FAST_FAIL_STACK_COOKIE_CHECK_FAILURE", 3: "FAST_FAIL_CORRUPT_LIST_ENTRY",
    5: "FAST_FAIL_INVALID_ARG", 7: "FAST_FAIL_FATAL_APP_EXIT", 10: "FAST_FAIL_GUARD_ICALL_CHECK_FAILURE",
}  # fmt: skip
_WINDOWS_CODES: Final = {
    0x517A7ED: "SIMULATED_EXCEPTION",
    0x40000015: "STATUS_FATAL_APP_EXIT", 0x40010005: "DBG_CONTROL_C", 0x80000001: "EXCEPTION_GUARD_PAGE",
    0x80000002: "EXCEPTION_DATATYPE_MISALIGNMENT", 0x80000003: "EXCEPTION_BREAKPOINT",
    0x80000004: "EXCEPTION_SINGLE_STEP", 0xC0000008: "EXCEPTION_INVALID_HANDLE", 0xC0000017: "STATUS_NO_MEMORY",
    0xC000001D: "EXCEPTION_ILLEGAL_INSTRUCTION", 0xC0000025: "EXCEPTION_NONCONTINUABLE_EXCEPTION",
    0xC0000026: "EXCEPTION_INVALID_DISPOSITION", 0xC000008C: "EXCEPTION_ARRAY_BOUNDS_EXCEEDED",
    0xC000008D: "EXCEPTION_FLT_DENORMAL_OPERAND", 0xC000008E: "EXCEPTION_FLT_DIVIDE_BY_ZERO",
    0xC000008F: "EXCEPTION_FLT_INEXACT_RESULT", 0xC0000090: "EXCEPTION_FLT_INVALID_OPERATION",
    0xC0000091: "EXCEPTION_FLT_OVERFLOW", 0xC0000092: "EXCEPTION_FLT_STACK_CHECK",
    0xC0000093: "EXCEPTION_FLT_UNDERFLOW", 0xC0000094: "EXCEPTION_INT_DIVIDE_BY_ZERO",
    0xC0000095: "EXCEPTION_INT_OVERFLOW", 0xC0000096: "EXCEPTION_PRIV_INSTRUCTION",
    0xC00000FD: "EXCEPTION_STACK_OVERFLOW", 0xC0000135: "STATUS_DLL_NOT_FOUND", 0xC0000138: "STATUS_ORDINAL_NOT_FOUND",
    0xC0000139: "STATUS_ENTRYPOINT_NOT_FOUND", 0xC0000142: "STATUS_DLL_INIT_FAILED",
    0xC0000194: "EXCEPTION_POSSIBLE_DEADLOCK", 0xC0000374: "STATUS_HEAP_CORRUPTION",
    0xC0000417: "STATUS_INVALID_CRUNTIME_PARAMETER", 0xC0000420: "STATUS_ASSERTION_FAILURE",
    0xE0000008: "OUT_OF_MEMORY", 0xE0434352: "CLR_EXCEPTION", 0xE06D7363: "CPP_EXCEPTION",
}  # fmt: skip

_SIGNALS: Final = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
    9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
    16: "SIGSTKFLT", 17: "SIGCHLD", 18: "SIGCONT", 19: "SIGSTOP", 20: "SIGTSTP", 21: "SIGTTIN", 22: "SIGTTOU",
    23: "SIGURG", 24: "SIGXCPU", 25: "SIGXFSZ", 26: "SIGVTALRM", 27: "SIGPROF", 28: "SIGWINCH", 29: "SIGIO",
    30: "SIGPWR", 31: "SIGSYS", 0xFFFFFFFF: "DUMP_REQUESTED",
}  # fmt: skip
_SIGNAL_CODES: Final = {
    (4, 1): "ILL_ILLOPC", (4, 2): "ILL_ILLOPN", (4, 3): "ILL_ILLADR", (4, 4): "ILL_ILLTRP", (4, 5): "ILL_PRVOPC",
    (4, 6): "ILL_PRVREG", (4, 7): "ILL_COPROC", (4, 8): "ILL_BADSTK",
    (5, 1): "TRAP_BRKPT", (5, 2): "TRAP_TRACE", (5, 3): "TRAP_BRANCH", (5, 4): "TRAP_HWBKPT",
    (7, 1): "BUS_ADRALN", (7, 2): "BUS_ADRERR", (7, 3): "BUS_OBJERR", (7, 4): "BUS_MCEERR_AR", (7, 5): "BUS_MCEERR_AO",
    (8, 1): "FPE_INTDIV", (8, 2): "FPE_INTOVF", (8, 3): "FPE_FLTDIV", (8, 4): "FPE_FLTOVF", (8, 5): "FPE_FLTUND",
    (8, 6): "FPE_FLTRES", (8, 7): "FPE_FLTINV", (8, 8): "FPE_FLTSUB",
    (11, 1): "SEGV_MAPERR", (11, 2): "SEGV_ACCERR", (11, 3): "SEGV_BNDERR", (11, 4): "SEGV_PKUERR",
    (31, 1): "SYS_SECCOMP",
}  # fmt: skip
# Who raised the signal, where the code is not the signal's own.
_SENDERS: Final = {0: "SI_USER", 0x80: "SI_KERNEL", 0xFFFFFFFF: "SI_QUEUE", 0xFFFFFFFA: "SI_TKILL"}

_APPLE_EXCEPTIONS: Final = {
    1: "EXC_BAD_ACCESS", 2: "EXC_BAD_INSTRUCTION", 3: "EXC_ARITHMETIC", 4: "EXC_EMULATION", 5: "EXC_SOFTWARE",
    6: "EXC_BREAKPOINT", 7: "EXC_SYSCALL", 8: "EXC_MACH_SYSCALL", 9: "EXC_RPC_ALERT", 10: "EXC_CRASH",
    11: "EXC_RESOURCE", 12: "EXC_GUARD", 13: "EXC_CORPSE_NOTIFY", 0x517A7ED: "SIMULATED_EXCEPTION",
}  # fmt: skip
_APPLE_CODES: Final = {
    (1, 1): "KERN_INVALID_ADDRESS", (1, 2): "KERN_PROTECTION_FAILURE", (1, 8): "KERN_NO_ACCESS",
    (1, 9): "KERN_MEMORY_FAILURE", (1, 10): "KERN_MEMORY_ERROR", (1, 50): "KERN_CODESIGN_ERROR",
    (5, 0x10000): "SIGSYS", (5, 0x10001): "SIGPIPE", (5, 0x10002): "SIGABRT", (5, 0x10003): "SIGNAL",
}  # fmt: skip


def system_name(system: DumpSystem) -> str:
    """'Linux', 'Windows', …; a number nobody knows in hexadecimal."""
    return _SYSTEMS.get(system.platform) or f"{system.platform:#x}"


def processor_name(system: DumpSystem) -> str:
    """'x86_64', 'arm64', …; a number nobody knows in hexadecimal."""
    return _PROCESSORS.get(system.architecture) or f"{system.architecture:#x}"


def system_version(system: DumpSystem) -> str:
    """'10.0.19045', '' if the dump does not say."""
    return ".".join(map(str, system.version)) if any(system.version) else ""


def reason(crash: Crash, system: DumpSystem | None) -> str:
    """Why it crashed, as debuggers say it: `SIGSEGV / SEGV_MAPERR`, `EXCEPTION_ACCESS_VIOLATION_READ`."""
    platform = system.platform if system else 0
    if platform in WINDOWS:
        return _windows(crash)
    if platform in APPLE:
        return _two(crash, _APPLE_EXCEPTIONS.get(crash.code), _APPLE_CODES.get((crash.code, crash.flags)))
    if platform in UNIX:
        detail = _SIGNAL_CODES.get((crash.code, crash.flags)) or _SENDERS.get(crash.flags)
        return _two(crash, _SIGNALS.get(crash.code), detail)
    return f"{crash.code:#010x}"


def address(crash: Crash, system: DumpSystem | None) -> int:
    """The address that could not be read, written or executed, else where the exception arose."""
    is_windows = system is not None and system.platform in WINDOWS
    if is_windows and crash.code in (_ACCESS_VIOLATION, _IN_PAGE_ERROR) and len(crash.parameters) > 1:
        return crash.parameters[1]
    return crash.address


def _windows(crash: Crash) -> str:
    first = crash.parameters[0] if crash.parameters else -1
    if crash.code in (_ACCESS_VIOLATION, _IN_PAGE_ERROR):
        name = "EXCEPTION_ACCESS_VIOLATION" if crash.code == _ACCESS_VIOLATION else "EXCEPTION_IN_PAGE_ERROR"
        return f"{name}_{_ACCESS[first]}" if first in _ACCESS else name
    if crash.code == _FAST_FAIL:
        return f"EXCEPTION_STACK_BUFFER_OVERRUN / {_FAST_FAILS.get(first) or first}"
    return _WINDOWS_CODES.get(crash.code) or f"{crash.code:#010x}"


def _two(crash: Crash, name: str | None, detail: str | None) -> str:
    """A signal or exception and what is known beside it."""
    kind = name or f"{crash.code:#010x}"
    if crash.code == 0xFFFFFFFF or (crash.flags == 0 and name and not detail):
        return kind
    return f"{kind} / {detail or f'{crash.flags:#010x}'}"
