"""What a dump says of its crash, in words: reason, address, module, machine. Rows are not made here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from workers.normalise.minidump import names
from workers.normalise.minidump.annotations import read_annotations
from workers.normalise.minidump.codec import CorruptDump, Inflated, inflate
from workers.normalise.minidump.file import Crash, Dump, Module, NotADump, read

DUMP_INVALID: Final = "minidump_invalid"
DUMP_CORRUPT: Final = "minidump_corrupt"
DUMP_CUT: Final = "minidump_cut"

MAX_LISTED_MODULES: Final = 256


@dataclass(frozen=True, slots=True)
class DumpFound:
    """What is known of the crash; `reason` is '' and `dump` None where the bytes say nothing."""

    file: Inflated
    dump: Dump | None
    reason: str = ""
    address: int = 0
    module: Module | None = None

    @property
    def crash(self) -> Crash | None:
        return self.dump.crash if self.dump else None

    @property
    def instruction(self) -> int:
        """Where it crashed: the thread's instruction pointer; without one the exception's address, mostly the same."""
        return (self.crash.instruction or self.crash.address) if self.crash else 0

    @property
    def offset(self) -> int:
        """Of the crashing instruction within its module."""
        return self.instruction - self.module.base if self.module else 0


def find(content: bytes, repairs: list[str]) -> DumpFound:
    """What the bytes of a dump, perhaps compressed, say; what kept them from saying more goes into `repairs`."""
    try:
        file = inflate(content)
    except CorruptDump:
        repairs.append(DUMP_CORRUPT)
        return DumpFound(Inflated(content, "", is_cut=False), None)
    if file.is_cut:
        repairs.append(DUMP_CUT)
    try:
        dump = read(file.content)
    except NotADump:
        repairs.append(DUMP_INVALID)
        return DumpFound(file, None)
    if dump.crash is None:
        return DumpFound(file, dump)
    address = names.address(dump.crash, dump.system)
    found = DumpFound(file, dump, names.reason(dump.crash, dump.system), address)
    return replace(found, module=dump.module_at(found.instruction))


def enrich(event: dict[str, Any], found: DumpFound, repairs: list[str]) -> None:
    """Puts what the dump says of the machine where the SDK would have put it, and what it says stays."""
    event.setdefault("platform", "native")
    if found.dump is None:
        return
    contexts = event.setdefault("contexts", {})
    if contexts.__class__ is not dict:
        return
    annotations = read_annotations(found.dump, repairs)
    if annotations:
        contexts.setdefault("crashpad", annotations)
    system = found.dump.system
    if system is not None:
        version, detail = names.system_version(system), system.detail
        machine = {"name": names.system_name(system), "version": version or None, "build": detail or None}
        contexts.setdefault("os", machine)
        contexts.setdefault("device", {"arch": names.processor_name(system)})


def frame(found: DumpFound) -> str:
    """The crashing instruction as 'module + offset'; '' if it is unknown."""
    if not found.instruction:
        return ""
    if found.module is None:
        return f"{found.instruction:#x}"
    return f"{found.module.name} + {found.offset:#x}"


def base_name(path: str) -> str:
    """The last part of a path of any system."""
    return path.replace("\\", "/").rpartition("/")[2]


def facts(found: DumpFound, dump: Dump) -> dict[str, Any]:
    """Everything that was read, bounded, for the row's payload; addresses as hexadecimal text."""
    said: dict[str, Any] = {"timestamp": dump.timestamp_s, "thread_count": dump.thread_count}
    if found.crash is not None:
        said["crash"] = {
            "reason": found.reason,
            "address": f"{found.address:#x}",
            "instruction": f"{found.instruction:#x}",
            "code": f"{found.crash.code:#x}",
            "flags": f"{found.crash.flags:#x}",
            "parameters": [f"{value:#x}" for value in found.crash.parameters],
            "thread_id": found.crash.thread_id,
            "thread_name": dump.thread_name or None,
        }
    said["modules"] = [_listed(module) for module in dump.modules[:MAX_LISTED_MODULES]]
    said["modules_omitted"] = max(0, len(dump.modules) - MAX_LISTED_MODULES)
    return said


def _listed(module: Module) -> dict[str, Any]:
    return {
        "code_file": module.name,
        "image_addr": f"{module.base:#x}",
        "image_size": module.size,
        "debug_id": module.debug_id,
        "code_id": module.code_id,
        "version": module.version,
    }
