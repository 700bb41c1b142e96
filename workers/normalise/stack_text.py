"""Stack traces as text, as OpenTelemetry sends them: to the exceptions and frames that identify an error.

Read are the forms of Python, Java and what runs on its machine, JavaScript, Go, .NET, Ruby, PHP, Rust and Swift. Line
numbers and messages are read over: they change with each release and each request.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from workers.normalise.sentry.payload.exceptions import Raised, read_trace_of
from workers.normalise.sentry.payload.grouping import group_hash
from workers.normalise.sentry.payload.message import NO_MESSAGE

# What is read of a longer text: where it begins, and where it ends.
MAX_TEXT_LENGTH: Final = 64 * 1024
MAX_FRAMES: Final = 1_000
# And how many a text may hold: a line of a trace that says anything is longer.
FREE_FRAMES: Final = 8
FRAME_BYTES: Final = 24
MAX_CHAIN: Final = 50
# Lines that may be the name of a type: a message may have many of them.
MAX_NAMES: Final = 200
_MAX_NAME: Final = 200

# One pass over the whole text; the lines in between (source code, messages) match nothing.
_LINE: Final = re.compile(
    r"""
      ^[ \t|+-]*+(?:
          File[ ]"(?P<python>[^"\n]{1,500})",[ ]line[ ]\d{1,9}(?:,[ ]in[ ](?P<python_name>[^\n]{1,200}))?
        | at[ ](?P<at>[^\n]{1,1000})
        | \#\d{1,5}[ ](?P<php>[^\n]{1,1000})
        | (?P<traceback>Traceback[ ]\(most[ ]recent[ ]call[ ]last\))
        | (?:Caused[ ]by|\[cause\]):[ ]?(?P<cause>[^\n]{0,500})
        | (?P<suppressed>Suppressed:)
        | \.\.\.[ ](?P<more>\d{1,5})[ ](?:more|common[ ]frames[ ]omitted)
        | (?P<end>End[ ]of[ ]inner[ ]exception)
        | >[ ](?P<inner>[^\n]{0,500})
        | (?:from[ ])?(?P<ruby>[^\s:][^\n:]{0,500}):\d{1,9}:in[ ][`'](?P<ruby_name>[^'\n]{1,200})'
      )
    | ^[ ]{0,8}\d{1,5}:[ ]+(?:0x[0-9a-f]{1,16}[ ]-[ ])?(?P<rust_name>[^\s\n][^\n]{0,500})
      (?:\n[ ]+at[ ](?P<rust>[^\n]{1,500}?)(?::\d{1,9}){1,2}$|$)
    | ^\d{1,5}(?:[ ]\[[^\]\n]{1,20}\]){0,3}[ \t]+(?:0x[0-9a-f]{1,16}[ ]+)?(?P<swift_name>[^\s\n][^\n]{0,300}?)
      (?:[ ]\+[ ]\d{1,9})?[ ]in[ ](?P<swift_image>[^\s\n]{1,200})
      (?:[ ]at[ ](?P<swift>[^\n]{1,500}?)(?::\d{1,9}){1,2})?$
    | ^\d{1,5}[ ]+(?P<symbol_image>[^\s\n][^\n]{0,100}?)
      [ \t]+0x[0-9a-f]{1,16}[ ](?P<symbol>[^\n]{1,500}?)[ ]\+[ ]\d{1,9}$
    | ^Next[ ](?P<next>[A-Za-z_\\][\w\\]{0,200}):[ ]
    | ^(?P<go_name>[^\s][^\n]{0,500})\n\t(?P<go>[^\n:]{1,500}\.go):\d{1,9}
    | ^(?P<firefox_name>[^\n@]{0,200})@(?P<firefox>[^\n@ ]{1,1000}):\d{1,9}:\d{1,9}$
    | ^(?P<type>[A-Za-z_][\w.$\\]{0,200})(?=:[ ]|$)
    """,
    re.VERBOSE | re.MULTILINE,
)
_JAVA: Final = re.compile(
    r"(?:[\w.@-]{1,200}/{1,2})?(?P<module>[^\s(]{1,500})\.(?P<name>[^\s.(]{1,200})"
    r"\((?P<file>Native Method|Unknown Source|<generated>|[^\s():]{1,200})(?::\d{1,9})?\)"
)
_NET: Final = re.compile(
    r"(?P<module>[^\s(]{1,500})\.(?P<name>[^\s.(]{1,200})\([^()\n]{0,500}\)"
    r"(?: in (?P<file>[^\n]{1,500}):line \d{1,9})?$"
)
_SCRIPT: Final = re.compile(r"(?:(?:async )?(?P<name>[^\n(]{1,200}) \()?(?P<file>[^\s()]{1,500}?)(?::\d{1,9}){1,2}\)?$")
_PHP: Final = re.compile(
    r"(?P<file>[^\n(]{1,500})\(\d{1,9}\): (?P<name>[^\s(]{1,200})|\[internal function\]: (?P<own>[^\s(]{1,200})"
)
_GO_FUNCTION: Final = re.compile(r"(?P<module>(?:[^\s/(]{1,200}/){0,20}[^\s/.(]{1,200})\.(?P<name>[^\n]{1,300})")
_GO_ARGUMENTS: Final = re.compile(r"\((?:0x|\{|\.\.\.|\)|[\d\"])[^\n]*$")
_TYPE: Final = re.compile(r"[A-Za-z_][\w.$\\]{0,200}")
# A release's own folder: /srv/releases/20261126/app.py, and the part of a path before the packages of a language.
_BEFORE_PACKAGES: Final = re.compile(r"^.{0,400}(?:site-packages|dist-packages|node_modules|vendor|gems|pkg/mod)/")
_NOT_OURS: Final = re.compile(
    r"(?:site|dist)-packages/|/lib/python\d|<frozen |node_modules/|^node:|^internal/|/gems/|/lib/ruby/|/vendor/"
    r"|/pkg/mod/|/usr/local/go/|/libexec/src/|<internal:|^/rustc/|/[.]cargo/|/library/(?:std|core|alloc)/"
)
# Functions of Rust's own and of the most common runtime; what is generic or a trait's begins with `<`.
_RUST_LIBRARIES: Final = re.compile(
    r"<?(?:&?(?:mut )?)(?:std|core|alloc|tokio|futures\w*|backtrace|anyhow"
    r"|test|hyper|axum|tower|tracing\w*|sentry\w*|opentelemetry\w*)(?:::|$| as )"
    r"|rust_begin|__rust|__libc|_start$|main$|clone3?$"
)
_JVM_FILES: Final = (".java", ".kt", ".scala", ".groovy", ".clj")
_RUST_HASH: Final = re.compile(r"::h[0-9a-f]{16}$")
# Apple's frameworks, Swift's and the system's libraries.
_SYSTEM_IMAGES: Final = re.compile(
    r"lib(?:swift|system|dispatch|dyld|objc|c\+\+|c\.so|pthread|Foundation|unwind)|dyld|UIKit|AppKit|(?:Core)?Foundation|SwiftUI"
    r"|QuartzCore|GraphicsServices|Core[A-Z]\w+|CFNetwork|Network$|HIToolbox|XCTest|\?\?\?"
)
_LIBRARIES: Final = (
    *("java.", "javax.", "jdk.", "sun.", "com.sun.", "kotlin.", "kotlinx.", "scala.", "akka.", "jakarta.", "io.netty."),
    *("org.springframework.", "org.apache.", "org.hibernate.", "org.eclipse.", "org.jboss.", "reactor.", "io.grpc."),
    *("io.opentelemetry.", "System.", "Microsoft.", "OpenTelemetry.", "runtime", "net/http", "testing", "reflect"),
    *("go.opentelemetry.io/", "google.golang.org/", "com.google.common.", "io.undertow.", "okhttp3.", "io.vertx."),
)


@dataclass(slots=True)
class _ExceptionText:
    """One exception of a trace: its type as the text has it, and its frames in the order of the text."""

    type: str = ""
    frames: list[dict[str, Any]] = field(default_factory=list)
    is_ignored: bool = False


def error_hash(kind: str, message: str, stacktrace: str) -> str:
    """What makes two errors one issue, by the rule of Sentry's events; '' where nothing is known of an error."""
    if not (kind or message or stacktrace):
        return ""
    raised = read_stacktrace(stacktrace)
    if not raised:
        raised = [Raised(kind, message, [], {})]
    elif kind:
        raised[-1].type = kind[:_MAX_NAME]
    raised[-1].value = message
    if any(_is_of_jvm(exception.frames) for exception in raised):
        for exception in raised:
            # as Sentry's SDK writes it, so that the same error has the same hash by either way
            exception.type = exception.type.rpartition(".")[2]
    return group_hash([], read_trace_of(raised).identity, NO_MESSAGE)


def _is_of_jvm(frames: list[dict[str, Any]]) -> bool:
    return any(frame.get("filename", "").endswith(_JVM_FILES) for frame in frames)


def read_stacktrace(text: str) -> list[Raised]:
    """The exceptions of a trace, oldest cause first and the thrown one last; [] if it has no frame that we know."""
    if len(text) > MAX_TEXT_LENGTH:
        text = f"{text[: MAX_TEXT_LENGTH // 2]}\n{text[-MAX_TEXT_LENGTH // 2 :]}"
    reader = _Reader(min(MAX_FRAMES, FREE_FRAMES + len(text) // FRAME_BYTES))
    for line in _LINE.finditer(text.replace("\r\n", "\n")):
        if not reader.take(line):
            break
    return reader.raised()


class _Reader:
    """The exceptions of one text. Python writes the thrown one last and its newest call last, all others first."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.parts = [_ExceptionText()]
        self.current = self.parts[0]
        self.outer: list[_ExceptionText] = []
        self.is_python = False
        # PHP writes the cause first and the thrown one last, each with its newest call first.
        self.is_oldest_first = False
        self.count = 0
        self.names = 0

    def take(self, line: re.Match[str]) -> bool:
        """One line that means something; False at the end of what is read."""
        kind = line.lastgroup or ""
        if read := _FRAMES.get(kind):
            frame = read(line)
            if frame and not self.current.is_ignored:
                self.current.frames.append(frame)
            self.count += 1
            return self.count < self.most
        if kind == "type":
            self.name(line["type"])
            self.names += 1
        elif kind == "more":
            self.repeat(int(line[kind]))
        elif kind == "next":
            self.is_oldest_first = True
            self.open(line[kind])
        elif kind == "traceback":
            self.is_python = True
            self.open("")
        elif kind == "cause":
            # the cause of a suppressed exception stands further in, as that does
            is_inner = self.current.is_ignored and line[0][0] in " \t"
            self.open(_type_of(line["cause"])).is_ignored = is_inner
        elif kind == "suppressed":
            self.open("").is_ignored = True
        elif kind == "inner":
            self.outer.append(self.current)
            self.open(_type_of(line[kind]))
        elif kind == "end" and self.outer:
            self.current = self.outer.pop()
        return len(self.parts) <= MAX_CHAIN and self.names < MAX_NAMES

    def name(self, kind: str) -> None:
        """A type at the beginning of a line: before its frames, in Python after them."""
        if not self.current.type and self.is_python == bool(self.current.frames):
            self.current.type = kind

    def repeat(self, count: int) -> None:
        """Java leaves out what a cause has in common with the trace around it; Sentry's SDK sends all frames."""
        around = next((part.frames for part in reversed(self.parts[:-1]) if not part.is_ignored), [])
        count = min(count, len(around), self.most - self.count)
        if count > 0 and not self.current.is_ignored:
            self.current.frames += around[len(around) - count :]
            self.count += count

    def open(self, kind: str) -> _ExceptionText:
        """Another exception begins here."""
        if self.current.frames or self.current.type or self.current.is_ignored:
            self.parts.append(_ExceptionText())
            self.current = self.parts[-1]
        self.current.type = kind
        return self.current

    def raised(self) -> list[Raised]:
        """All exceptions that have frames, in the order of Sentry's events."""
        parts = [part for part in self.parts if not part.is_ignored]
        if not any(part.frames for part in parts):
            return []
        ordered = parts if self.is_python or self.is_oldest_first else parts[::-1]
        frames = [part.frames if self.is_python else part.frames[::-1] for part in ordered]
        return [Raised(part.type, "", part_frames, {}) for part, part_frames in zip(ordered, frames, strict=True)]


def _type_of(text: str) -> str:
    match = _TYPE.match(text)
    return match[0] if match else ""


@lru_cache(4096)  # what is read from it is never changed
def _frame(file: str, name: str, module: str = "") -> dict[str, Any]:
    return {"function": name.strip()[:_MAX_NAME]} | _place(file[-_MAX_NAME:], module[:_MAX_NAME])


@lru_cache(4096)  # an application has few files, and each error names some of them
def _place(file: str, module: str) -> dict[str, Any]:
    """What a frame says of where it is; whether that is the application's own code is guessed from the names."""
    frame: dict[str, Any] = {"in_app": not _NOT_OURS.search(file) and not module.startswith(_LIBRARIES)}
    if module:
        frame["module"] = module
    if file:
        frame["filename"] = _BEFORE_PACKAGES.sub("", file)
    return frame


def _python(line: re.Match[str]) -> dict[str, Any]:
    return _frame(line["python"], line["python_name"] or "<module>")


def _at(line: re.Match[str]) -> dict[str, Any] | None:
    """Java, .NET and JavaScript all say "at"; what is in the parentheses tells them apart."""
    text = line["at"].rstrip()
    if match := _JAVA.match(text) or _NET.match(text):
        return _frame(match["file"] or "", match["name"], match["module"])
    if match := _SCRIPT.match(text):
        return _frame(match["file"], (match["name"] or "<anonymous>").removeprefix("async "))
    return None


def _php(line: re.Match[str]) -> dict[str, Any] | None:
    match = _PHP.match(line["php"])
    return _frame(match["file"] or "", match["name"] or match["own"]) if match else None


def _ruby(line: re.Match[str]) -> dict[str, Any]:
    return _frame(line["ruby"], line["ruby_name"].removeprefix("block in "))


def _go(line: re.Match[str]) -> dict[str, Any] | None:
    match = _GO_FUNCTION.match(_GO_ARGUMENTS.sub("", line["go_name"]).removeprefix("created by "))
    return _frame(line["go"], match["name"], match["module"]) if match else None


def _rust(line: re.Match[str]) -> dict[str, Any] | None:
    """A line without a file is a frame only if it reads as a path of Rust: other texts have numbered lines, too."""
    file, name = line["rust"] or "", line["rust_name"]
    if not file and "::" not in name and _RUST_LIBRARIES.match(name) is None:
        return None
    return _rust_frame(file, name)


@lru_cache(4096)
def _rust_frame(file: str, name: str) -> dict[str, Any]:
    frame = _frame(file.removeprefix("./"), _RUST_HASH.sub("", name))
    return frame | {"in_app": frame["in_app"] and _RUST_LIBRARIES.match(name) is None}


def _swift(line: re.Match[str]) -> dict[str, Any]:
    image = line["swift_image"] or line["symbol_image"]
    return _swift_frame(line["swift"] or "", line["swift_name"] or line["symbol"], image.strip())


@lru_cache(4096)
def _swift_frame(file: str, name: str, image: str) -> dict[str, Any]:
    frame = _frame(file, name, image)
    return frame | {"in_app": frame["in_app"] and _SYSTEM_IMAGES.match(image) is None}


def _firefox(line: re.Match[str]) -> dict[str, Any]:
    return _frame(line["firefox"], line["firefox_name"].removeprefix("async*") or "<anonymous>")


_FRAMES: Final[dict[str, Callable[[re.Match[str]], dict[str, Any] | None]]] = {
    "python": _python,
    "python_name": _python,
    "at": _at,
    "php": _php,
    "ruby": _ruby,
    "ruby_name": _ruby,
    "go": _go,
    "go_name": _go,
    "rust": _rust,
    "rust_name": _rust,
    "swift": _swift,
    "swift_image": _swift,
    "symbol": _swift,
    "firefox": _firefox,
    "firefox_name": _firefox,
}
