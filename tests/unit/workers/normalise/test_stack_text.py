"""Stack traces as text: what identifies an error stays the same where only what varies is another."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from tests.unit.worker_fakes import origin
from workers.normalise.sentry import event
from workers.normalise.stack_text import MAX_FRAMES, MAX_TEXT_LENGTH, error_hash, read_stacktrace

PYTHON = """Traceback (most recent call last):
  File "/app/shop/db.py", line 3, in query
    raise KeyError("x")
KeyError: 'x'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/usr/lib/python3.11/threading.py", line 975, in run
    self._target()
    ~~~~~~~~~~~~^^
  File "/app/shop/orders.py", line 10, in buy
    query()
shop.errors.Failed: order 12
"""
JAVA = """java.lang.IllegalStateException: order 12 failed
\tat com.acme.Shop.buy(Shop.java:12)
\tat com.acme.Shop$$Lambda$14/0x0000000800c03000.run(Unknown Source)
\tat java.base/java.lang.Thread.run(Thread.java:829)
\tSuppressed: java.io.IOException: 12
\t\tat com.acme.Pool.close(Pool.java:1)
Caused by: java.sql.SQLException: dead 12
\tat com.acme.Db.query(Db.java:99)
\t... 3 more
"""
JAVASCRIPT = """TypeError: Cannot read properties of undefined (reading 'x12')
    at Object.handler (/srv/app/dist/main.js:10:5)
    at async run (file:///srv/app/run.mjs:3:1)
    at new Till (/srv/app/node_modules/express/lib/router.js:5:5)
    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)"""
FIREFOX = """run@https://shop.example/static/main.5f3a9c01.js:1:200
@https://shop.example/x.js:3:4"""
GO = """goroutine 18 [running]:
runtime/debug.Stack()
\t/usr/local/go/src/runtime/debug/stack.go:24 +0x65
main.(*Server).Handle(0xc0000b2012, {0x7f, 0x1})
\t/app/main.go:33 +0x1d
github.com/acme/shop/internal/db.Query({0x1, 0x2})
\t/app/internal/db/db.go:12
"""
NET = """System.InvalidOperationException: order 12
 ---> System.ArgumentException: inner 12
   at Acme.Db.Query(String sql, Int32 n) in /src/Db.cs:line 12
   --- End of inner exception stack trace ---
   at Acme.Shop.Buy() in C:\\src\\Shop.cs:line 40
   at System.Threading.Tasks.Task.Execute()"""
RUBY = """/app/lib/shop.rb:12:in `buy': order 12 failed (Acme::Failed)
\tfrom /app/lib/shop.rb:3:in `block in run'
\tfrom /usr/local/bundle/gems/rack-2.0/lib/rack.rb:4:in 'Rack::Server#call'
"""
PHP = """Acme\\Failed: order 12 in /app/src/Shop.php:12
Stack trace:
#0 /app/src/Shop.php(30): Acme\\Shop->buy(12, 'x')
#1 [internal function]: Acme\\Shop->run()
#2 /app/vendor/laravel/framework/a.php(3): call_user_func()
#3 {main}"""
PHP_OTEL = """Acme.Failed: order 12
 at Acme.Shop.buy(Shop.php:12)
 at {main}(index.php:3)
Caused by: PDOException: gone
 at PDO.query(Db.php:3)"""
PHP_NEXT = """Acme\\Expired: card 12 in /app/src/Card.php:12
Stack trace:
#0 /app/src/Card.php(30): Acme\\Card->run(12)
#1 {main}

Next Acme\\Failed: order 12 in /app/src/Shop.php:12
Stack trace:
#0 /app/src/Shop.php(30): Acme\\Shop->buy(12, 'x')
#1 /app/vendor/laravel/framework/a.php(3): call_user_func()
#2 {main}"""
RUST = """order failed

Stack backtrace:
   0: shop::orders::buy::h0123456789abcdef
             at ./src/orders.rs:12:5
   1: <shop::Cart as shop::Pay>::run
             at ./src/main.rs:3:5
   2: core::ops::function::FnOnce::call_once
             at /rustc/90b35a6/library/core/src/ops/function.rs:250:5
   3: std::rt::lang_start
   4: main
"""
RUST_PANIC = """thread 'main' panicked at src/main.rs:3:5:
order 12 failed
stack backtrace:
   0:     0x55d0c1b2a1b2 - shop::orders::buy
                               at /app/src/orders.rs:12
   1:     0x55d0c1b2a1b3 - tokio::runtime::task::run
                               at /cargo/registry/src/index/tokio-1.0.0/src/task.rs:1:1
"""
SWIFT = """0   Shop                                0x0000000100e3c3d4 $s4Shop3buyyyF + 52
1   Shop                                0x0000000100e3c3e4 main + 52
2   UIKitCore                           0x00000001b2f41234 -[UIApplication run] + 100
3   dyld                                0x00000001b2f41334 start + 100"""
SWIFT_LINUX = """Thread 0 crashed:

0               0x000000010b3a4c5d buy(_:) + 4 in shop at /srv/Sources/shop/Shop.swift:10:9
1 [ra]          0x000000010b3a4c5e static Main.main() + 20 in shop at /srv/Sources/shop/main.swift:3:1
2 [ra] [system] 0x00007f0b3a4c5d6e __libc_start_main + 20 in libc.so.6
"""

# Text, exceptions from the oldest cause to the thrown one, each frame of theirs that is the application's own.
TRACES = {
    "python": (PYTHON, [("KeyError", ["query"]), ("shop.errors.Failed", ["buy"])]),
    "java": (
        JAVA,
        [("java.sql.SQLException", ["run", "buy", "query"]), ("java.lang.IllegalStateException", ["run", "buy"])],
    ),
    "javascript": (JAVASCRIPT, [("TypeError", ["run", "Object.handler"])]),
    "firefox": (FIREFOX, [("", ["<anonymous>", "run"])]),
    "go": (GO, [("", ["Query", "(*Server).Handle"])]),
    ".net": (NET, [("System.ArgumentException", ["Query"]), ("System.InvalidOperationException", ["Buy"])]),
    "ruby": (RUBY, [("", ["run", "buy"])]),
    "php": (PHP, [("Acme\\Failed", ["Acme\\Shop->run", "Acme\\Shop->buy"])]),
    "php, as OpenTelemetry writes it": (PHP_OTEL, [("PDOException", ["query"]), ("Acme.Failed", ["buy"])]),
    "php, a cause before what it caused": (
        PHP_NEXT,
        [("Acme\\Expired", ["Acme\\Card->run"]), ("Acme\\Failed", ["Acme\\Shop->buy"])],
    ),
    "rust": (RUST, [("", ["<shop::Cart as shop::Pay>::run", "shop::orders::buy"])]),
    "rust, a panic": (RUST_PANIC, [("", ["shop::orders::buy"])]),
    "swift": (SWIFT, [("", ["main", "$s4Shop3buyyyF"])]),
    "swift on linux": (SWIFT_LINUX, [("", ["static Main.main()", "buy(_:)"])]),
}
NAMES = list(TRACES)


@pytest.mark.parametrize("name", NAMES)
def test_a_trace_is_read(name: str) -> None:
    """Exceptions, the oldest cause first, and frames, the oldest call first, as Sentry's events have them."""
    text, expected = TRACES[name]
    found = [
        (one.type, [frame["function"] for frame in one.frames if frame["in_app"]]) for one in read_stacktrace(text)
    ]
    assert found == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_other_lines_messages_and_addresses_are_the_same_error(name: str, ends: str) -> None:
    """A release moves lines; a request brings another order."""
    text = TRACES[name][0]
    moved = re.sub(r"(?<![\w.])(\d{1,3})(?![\w.])", lambda found: str(int(found[1]) + 1), text).replace("\n", ends)
    assert moved != text
    assert error_hash("Failed", "order 12", moved) == error_hash("Failed", "order 13", text)


@pytest.mark.parametrize("name", NAMES)
def test_another_type_or_another_place_is_another_error(name: str) -> None:
    text = TRACES[name][0]
    of_it = error_hash("Failed", "order 12", text)
    assert of_it != error_hash("Broken", "order 12", text)
    elsewhere = re.sub("buy|Buy|run|Handle", "other", text)
    assert of_it != error_hash("Failed", "order 12", elsewhere)
    assert len(of_it) == 32


def test_without_a_trace_the_message_counts_without_what_varies() -> None:
    """As it does for Sentry's events."""
    assert error_hash("E", "order 12 failed", "") == error_hash("E", "order 13 failed", "")
    assert error_hash("E", "order 12 failed", "") != error_hash("E", "pool is empty", "")
    assert error_hash("E", "order 12 failed", "") == error_hash("E", "order 12 failed", "in a form that nobody knows")
    assert error_hash("", "", "") == ""
    assert error_hash("", "order 12", "") != ""


def test_the_same_error_of_java_and_go_has_one_hash_by_sentry_and_by_opentelemetry() -> None:
    """Where both say the same: these SDKs name modules and functions as the text of a stack trace does."""
    cause = [frame("com.acme.Main", "main"), frame("com.acme.Shop", "buy"), frame("com.acme.Db", "query")]
    java = [("SQLException", cause), ("IllegalStateException", cause[:2])]
    text = (
        "java.lang.IllegalStateException: order 12 failed\n\tat com.acme.Shop.buy(Shop.java:12)\n"
        "\tat com.acme.Main.main(Main.java:3)\nCaused by: java.sql.SQLException: dead\n"
        "\tat com.acme.Db.query(Db.java:99)\n\t... 2 more\n"
    )
    assert error_hash("java.lang.IllegalStateException", "order 12 failed", text) == sentry_hash(java)
    go = [("*errors.errorString", [frame("main", "main"), frame("main", "(*Server).Handle")])]
    text = (
        "goroutine 1 [running]:\nmain.(*Server).Handle(0xc0000b2012)\n\t/app/main.go:33 +0x1d\n"
        "main.main()\n\t/app/main.go:3\n"
    )
    assert error_hash("*errors.errorString", "order 12 failed", text) == sentry_hash(go)


def frame(module: str, function: str) -> dict[str, Any]:
    return {"module": module, "function": function, "in_app": True}


def sentry_hash(raised: list[tuple[str, list[dict[str, Any]]]]) -> str:
    """Of an event with these exceptions, the oldest cause first."""
    values = [{"type": kind, "value": "v", "stacktrace": {"frames": frames}} for kind, frames in raised]
    body = orjson.dumps({"event_id": "a" * 32, "exception": {"values": values}})
    row = event.normalise(origin(), b'{}\n{"type":"event","length":%d}\n%b\n' % (len(body), body)).rows[0]
    return str(row[event.COLUMNS.index("group_hash")])


def test_a_deep_recursion_is_one_error_however_deep_it_got() -> None:
    """How deep is chance."""
    head, frame = (
        'Traceback (most recent call last):\n  File "/a.py", line 1, in main\n',
        '  File "/a.py", line 2, in f\n',
    )
    deep, deeper = (f"{head}{frame * times}RecursionError: maximum\n" for times in (200, 230))
    assert error_hash("RecursionError", "m", deep) == error_hash("RecursionError", "m", deeper)


@pytest.mark.parametrize(
    "line",
    [
        "a\n",
        "at a\n",
        "x",
        "at a.b(",
        "a@",
        ":1:in ",
        "\t",
        "#1 (",
        "a/b\n\t",
        "Caused by: \n",
        '  File "',
        "---> a\n",
        "1: a\n",
        "1 a in b at c\n",
        "1 a 0x1 b + 1\n",
        "Next a: \n",
        "... 9 more\n",
    ],
)
def test_hostile_text_is_read_within_bounds(line: str) -> None:
    """No more frames, exceptions or text than a bound, whatever is in it."""
    found = read_stacktrace(line * (2 * MAX_TEXT_LENGTH // len(line)))
    assert sum(len(one.frames) for one in found) <= MAX_FRAMES
    assert isinstance(error_hash("E", "m", line * 1000), str)


def test_the_middle_of_an_endless_text_is_not_read() -> None:
    """Its beginning and its end are what a person would read, too."""
    frame = '  File "/app/{0}.py", line 1, in {0}\n    pass\n'
    filler = "x" * MAX_TEXT_LENGTH + "\n"
    text = "Traceback (most recent call last):\n" + frame.format("first") + filler + frame.format("middle")
    text += filler + frame.format("last") + "KeyError: 'x'"
    (found,) = read_stacktrace(text)
    assert [one["function"] for one in found.frames] == ["first", "last"]
