"""What a dump says of its crash, in words: reason, address, module, machine. Rows are not made here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from workers.normalise.minidump import names
from workers.normalise.minidump.annotations import read_annotations
from workers.normalise.minidump.codec import CorruptDump, Inflated, inflate_dump
from workers.normalise.minidump.file import Crash, Dump, Module, NotADump, read_dump

DUMP_INVALID: Final = "minidump_invalid"
DUMP_CORRUPT: Final = "minidump_corrupt"
DUMP_CUT: Final = "minidump_cut"

MAX_LISTED_MODULES: Final = 256


@dataclass(frozen=True, slots=True)
class DumpAnalysis:
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


def analyse(content: bytes, repairs: list[str]) -> DumpAnalysis:
    """What the bytes of a dump, perhaps compressed, say; what kept them from saying more goes into `repairs`."""
    try:
        file = inflate_dump(content)
    except CorruptDump:
        repairs.append(DUMP_CORRUPT)
        return DumpAnalysis(Inflated(content, "", is_cut=False), None)
    if file.is_cut:
        repairs.append(DUMP_CUT)
    try:
        dump = read_dump(file.content)
    except NotADump:
        repairs.append(DUMP_INVALID)
        return DumpAnalysis(file, None)
    if dump.crash is None:
        return DumpAnalysis(file, dump)
    address = names.address(dump.crash, dump.system)
    analysis = DumpAnalysis(file, dump, names.reason(dump.crash, dump.system), address)
    return replace(analysis, module=dump.module_at(analysis.instruction))


def enrich(event: dict[str, Any], analysis: DumpAnalysis, repairs: list[str]) -> None:
    """Puts what the dump says of the machine where the SDK would have put it, and what it says stays."""
    event.setdefault("platform", "native")
    if analysis.dump is None:
        return
    contexts = event.setdefault("contexts", {})
    if contexts.__class__ is not dict:
        return
    annotations = read_annotations(analysis.dump, repairs)
    if annotations:
        contexts.setdefault("crashpad", annotations)
    system = analysis.dump.system
    if system is not None:
        version, detail = names.system_version(system), system.detail
        machine = {"name": names.system_name(system), "version": version or None, "build": detail or None}
        contexts.setdefault("os", machine)
        contexts.setdefault("device", {"arch": names.processor_name(system)})


def frame(analysis: DumpAnalysis) -> str:
    """The crashing instruction as 'module + offset'; '' if it is unknown."""
    if not analysis.instruction:
        return ""
    if analysis.module is None:
        return f"{analysis.instruction:#x}"
    return f"{analysis.module.name} + {analysis.offset:#x}"


def base_name(path: str) -> str:
    """The last part of a path of any system."""
    return path.replace("\\", "/").rpartition("/")[2]


def facts(analysis: DumpAnalysis, dump: Dump) -> dict[str, Any]:
    """Everything that was read, bounded, for the row's payload; addresses as hexadecimal text."""
    said: dict[str, Any] = {"timestamp": dump.timestamp_s, "thread_count": dump.thread_count}
    if analysis.crash is not None:
        said["crash"] = {
            "reason": analysis.reason,
            "address": f"{analysis.address:#x}",
            "instruction": f"{analysis.instruction:#x}",
            "code": f"{analysis.crash.code:#x}",
            "flags": f"{analysis.crash.flags:#x}",
            "parameters": [f"{value:#x}" for value in analysis.crash.parameters],
            "thread_id": analysis.crash.thread_id,
            "thread_name": dump.thread_name or None,
        }
    said["modules"] = [_module_facts(module) for module in dump.modules[:MAX_LISTED_MODULES]]
    said["modules_omitted"] = max(0, len(dump.modules) - MAX_LISTED_MODULES)
    return said


def _module_facts(module: Module) -> dict[str, Any]:
    return {
        "code_file": module.name,
        "image_addr": f"{module.base:#x}",
        "image_size": module.size,
        "debug_id": module.debug_id,
        "code_id": module.code_id,
        "version": module.version,
    }
