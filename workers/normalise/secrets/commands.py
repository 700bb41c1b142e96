"""Secrets in command lines: passwords, tokens and credentials become `[Filtered]` in arguments and in text.

Processes tell their arguments in attributes (OpenTelemetry, `process.command_args`, `process.command_line`), SDKs in
`sys.argv` and in spans of subprocesses. What an argument means is known from its own name, from the option before it,
and for a few programs from a letter (`mysql -pSECRET`). Headers are in headers.py.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import orjson

from schemas.tolerant_json import dumps_text

FILTERED: Final = "[Filtered]"
# Attributes that hold a command or its arguments. Text of other attributes is their sender's own.
COMMAND_KEYS: Final = frozenset(
    {
        *("process.command_args", "process.command", "process.command_line", "process.args", "process.argv"),
        *("process.parent.command_line", "process.parent.command_args", "process.cmdline", "sys.argv", "argv"),
        *("command_line", "command_args", "commandLine", "commandline", "cmdline", "process.arguments"),
        *(
            "db.connection_string",
            "connection_string",
            "extra.sys.argv",
            "processArgs",
            "process_args",
            "subprocess.args",
            "command.line",
        ),
    }
)
# What keys of commands end with, where they are looked for by text.
_COMMAND_END: Final = re.compile(
    r"(?:^|[._])(?:argv|command[._]?(?:line|args)|cmdline|process[._]args)$", re.IGNORECASE
)
_ENVIRONMENT_KEY: Final = re.compile(r"^process[.]environment_variable[.](.+)", re.IGNORECASE)

# Words in names of options and variables whose values are secrets.
_SECRET_NAME: Final = re.compile(
    r"passw|passphrase|passcode|(?:^|-)(?:pass|pw|pwd|auth|creds?|pat|sas)$|(?:store|key|db|user|root|ssh|smtp|my|pg|ftp)pass$"
    r"|pwd$|secret|token(?!s|iz)|credential|bearer|jwt|authoriz|(?:^|-)cookies?$|signature$|session-?(?:id|key)"
    r"|(?:api|access|secret|private|auth|master|account|signing|encryption|shared|subscription|license|admin|service"
    r"|storage|root|client|app|deploy|webhook|ssh|hmac|cipher|rsa|aes|ingest|write)-?key(?:-id|-base)?$"
)
# Names about a secret: where it is, of what kind, how long. And options that say it comes another way.
_ABOUT_SECRETS: Final = re.compile(
    r"-(?:file|files|path|dir|directory|name|names|stdin|type|length|len|policy|url|uri|env|prompt|ttl|expiry|expires"
    r"|expiration|lifetime|endpoint|mode|method|format|header|count|limit|budget|timeout|size|algorithm|min|max|required"
    r"|enabled|store|provider|helper|mount|ref|version|fd|arn|location|interval)$|^(?:no|without|ask|use|list|show)-"
)
_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_MAX_NAME: Final = 100
_MAX_REMEMBERED: Final = 1_000

# A part of each name of a secret, so that a search takes no Python: in a text of small letters, and in any. The second
# one is spelled out: ignoring case makes a search four times slower.
_WORDS: Final = r"pass|pwd|secret|token|key|auth|cred|bearer|jwt|cookie|signature|session|pw\b|pat\b|sas\b"
_ANY_WORDS: Final = (
    r"(?:[Pp](?:[Aa][Ss][Ss]|[Ww][Dd]|[Ww]\b|[Aa][Tt]\b)|[Ss](?:[Ee][Cc][Rr]|[Ii][Gg][Nn][Aa]|[Ee][Ss][Ss]|[Aa][Ss]\b)"
    r"|[Tt][Oo][Kk][Ee]|[Kk][Ee][Yy]|[Aa][Uu][Tt][Hh]|[Cc](?:[Rr][Ee][Dd]|[Oo][Oo][Kk])|[Bb][Ee][Aa][Rr]|[Jj][Ww][Tt])"
)
_WORD_OF_NAME: Final = re.compile(_WORDS)
# --name value, --name=value, -name:value, /name:value; NAME=value of an environment, a query, a connection string;
# "name": "value" of JSON; Name: value of a header. What begins a word ends with it, what is inside ends at a separator.
# No name has one letter: that is asked first, because it is cheap.
_NAMED: Final = re.compile(
    rf"(?<![\w.-])(?=-{{0,2}}/?[\w.-]{{2}})(?=-{{0,2}}/?[\w.-]{{0,{_MAX_NAME}}}?{_ANY_WORDS})(?P<start>(?<![^\s\"'(\[,])(?P<lead>--?|/)?)?"
    rf"(?P<name>[A-Za-z_][\w.-]{{0,{_MAX_NAME}}}+)(?P<between>[ ]?=[ ]?|:[ ]?|[\"'][ ]?:[ ]?|[ \t]++(?!-))"
    r"(?P<value>\"[^\"]*+\"?|'[^']*+'?|(?:(?:Bearer|Basic|Digest|Token|ApiKey|bearer|basic|digest|token)[ ]++)?"
    r"(?(start)[^\s\"']++|[^\s\"'&;,|)}]++))"
)
# Up to the last @ before the path: a password may have one itself.
# A long user without a password is a token: https://ghp_…@github.com
_URL: Final = re.compile(
    r"(?<=://)(?:(?P<user>[^\s/:@\"'?#]{0,300}+):[^\s/\"'?#]{1,1000}|[^\s/:@\"'?#]{20,1000}+)(?=@)"
)
_SCHEME: Final = re.compile(r"(?P<before>\b(?:Bearer|Basic)[ ]+)[A-Za-z0-9+/=._~-]{8,}+", re.IGNORECASE)
_WORD: Final = re.compile(r"(?:\"[^\"]*+\"|'[^']*+'|[^\s\"']|[\"'])++")
# More words of a text than any command that has a password in a letter.
_MAX_WORDS: Final = 1_000

# Programs that take a password behind a letter: only joined to it, or also as the next argument.
_JOINED: Final = "joined"
_PROGRAMS: Final = (
    (re.compile(r"(?:mysql|mariadb)[\w-]*|7z\w*|(?:un)?rar"), {"p": _JOINED, "hp": _JOINED}),
    (
        re.compile(r"sshpass|mongo\w*|cqlsh|cypher-shell|twine|rabbitmqadmin|psexec\w*|arangosh|clickhouse-benchmark"),
        {"p": ""},
    ),
    (re.compile(r"(?:redis|valkey|keydb)-(?:cli|benchmark)"), {"a": ""}),
    (re.compile(r"sqlcmd|bcp|osql|isql|tsql|zip|unzip|mosquitto_\w+"), {"P": ""}),
    (re.compile(r"ldap\w+"), {"w": ""}),
    (re.compile(r"curl"), {"u": "", "U": "", "b": "", "user": "", "proxy-user": "", "cookie": ""}),
    (re.compile(r"lftp"), {"u": ""}),
    (re.compile(r"smbclient|rpcclient|winexe"), {"U": ""}),
    (re.compile(r"http|https|httpie|xh|wrk|siege"), {"a": ""}),
    (re.compile(r"[a-z]?freerdp\w*"), {"p": ""}),
    (re.compile(r"openssl"), {"passin": "", "passout": "", "k": ""}),
)
# The same after the word `login`; without it, -p is a port.
_LOGIN: Final = (
    re.compile(r"docker|podman|nerdctl|buildah|skopeo|helm|oras|az|oc|cf|crane|ibmcloud"),
    {"p": "", "t": ""},
)
_NO_FLAGS: Final[dict[str, str]] = {}
_PROGRAM: Final = re.compile(rf"(?<![\w-])(?:{'|'.join(program.pattern for program, _ in (*_PROGRAMS, _LOGIN))})")
# Without one of these there is nothing to find in a text.
_MAY_HOLD: Final = re.compile(rf"{_WORDS}|basic |@| -[a-z]")


def is_command(key: str) -> bool:
    """Whether an attribute of this name holds a command line or arguments."""
    return key in COMMAND_KEYS or _COMMAND_END.search(key[-_MAX_NAME:]) is not None


def secret_variable(key: str) -> bool:
    """Whether an attribute holds a variable of the environment that is a secret by its name."""
    match = _ENVIRONMENT_KEY.match(key[: 2 * _MAX_NAME])
    return match is not None and is_secret_name(match[1])


def is_secret_name(name: str) -> bool:
    """Whether an option or a variable of this name holds a secret. Case, `_`, `.` and humps make no difference."""
    return _is_secret_name(name[:_MAX_NAME])


@lru_cache(4096)  # the same few names come again and again
def _is_secret_name(name: str) -> bool:
    plain = _HUMP.sub("-", name).lower().replace("_", "-").replace(".", "-")
    return _SECRET_NAME.search(plain) is not None and _ABOUT_SECRETS.search(plain) is None


def filtered_command(value: Any) -> Any:
    """A command line or a list of arguments without its secrets; the value itself if it has none."""
    if value.__class__ is str:
        return _filtered_list_text(value) if value[:1] == "[" else filtered_line(value)
    if value.__class__ is not list:
        return value
    filtered = _arguments(value)
    return value if filtered == value else filtered


def _filtered_list_text(text: str) -> str:
    """Arguments as JSON text."""
    with suppress(ValueError):
        values = orjson.loads(text)
        if values.__class__ is list:
            filtered = _arguments(values)
            return text if filtered == values else dumps_text(filtered)
    return filtered_line(text)


def filtered_line(text: str) -> str:
    """A whole command line."""
    return _remembered_line(text) if len(text) <= _MAX_REMEMBERED else _filtered_line(text)


@lru_cache(1024)  # programs run again and again, and each span of one repeats its command
def _remembered_line(text: str) -> str:
    return _filtered_line(text)


def _filtered_line(text: str) -> str:
    lower = text.lower()
    if _MAY_HOLD.search(lower) is None:
        return text
    if _WORD_OF_NAME.search(lower):
        text = _NAMED.sub(_named, text)
    if "bearer " in lower or "basic " in lower:
        text = _SCHEME.sub(rf"\g<before>{FILTERED}", text)
    return _flags_in(filtered_url(text))


def filtered_url(text: str) -> str:
    """A text without the passwords of the addresses in it."""
    if "@" not in text or "://" not in text:
        return text
    return _URL.sub(_address, text)


def _address(match: re.Match[str]) -> str:
    user = match["user"]
    return FILTERED if user is None else f"{user}:{FILTERED}"


def _arguments(values: list[Any]) -> list[Any]:
    filtered: list[Any] = []
    flags, is_value, is_login = _NO_FLAGS, False, False
    for value in values:
        if is_value and not (value.__class__ is str and value[:1] == "-" and value[1:2].isalpha()):
            filtered.append(FILTERED)
            is_value = False
            continue
        is_value = False
        if value.__class__ is not str:
            filtered.append(value)
            continue
        if value[:1] in ("-", "/") and len(value) > 1:
            text, is_value = _argument(value, flags)
            filtered.append(text)
            if value[:1] == "-":
                continue
        else:
            filtered.append(_variable(value) or _inner(value))
        is_login = is_login or value == "login"
        flags = _flags_of(value, is_login) or flags
        if is_login and not flags:
            flags = next(
                (login_flags for word in values[:8] if word.__class__ is str and (login_flags := _login_flags(word))),
                flags,
            )
    return filtered


def _variable(text: str) -> str:
    """NAME=value with a secret name, all of its value filtered; '' for anything else."""
    name, equals, value = text.partition("=")
    is_secret = equals and value and name.replace(".", "_").replace("-", "_").isidentifier() and is_secret_name(name)
    return f"{name}={FILTERED}" if is_secret else ""


def _argument(text: str, flags: dict[str, str]) -> tuple[str, bool]:
    """(an option without its secret, whether the next argument is one)."""
    lead = "--" if text.startswith("--") else text[0]
    name, between, value = _parted(text[len(lead) :], is_windows=lead == "/")
    if lead == "/" and not between:
        return _inner(text), False
    own = name[1:] if lead == "-" and name[:1] in "De" and name[1:2].isalpha() and between else name
    if between and value and (is_secret_name(name) or is_secret_name(own) or name in flags):
        return f"{lead}{name}{between}{FILTERED}", False
    if between:
        return f"{lead}{name}{between}{_inner(value)}", False
    if is_secret_name(name) or (name in flags and flags[name] != _JOINED):
        return text, True
    return _joined(text, flags) if lead == "-" else text, False


def _parted(text: str, *, is_windows: bool) -> tuple[str, str, str]:
    equals, colon = text.find("="), text.find(":")
    if colon > 0 and (equals < 0 or colon < equals) and text[:colon].replace("-", "").replace("_", "").isalnum():
        is_address = text[colon + 1 : colon + 3] == "//"
        return text.partition("=") if is_address and not is_windows else text.partition(":")
    return text.partition("=")


def _joined(text: str, flags: dict[str, str]) -> str:
    """-pSECRET of a program that has such a letter."""
    for flag in flags:
        if text.startswith(flag, 1) and len(text) > len(flag) + 1 and len(flag) <= 2:
            return f"-{flag}{FILTERED}"
    return _inner(text)


def _inner(text: str) -> str:
    """An argument that may be a whole command, an assignment, a header or an address."""
    return filtered_line(text)


def _flags_of(word: str, is_login: bool) -> dict[str, str]:
    name = word.replace("\\", "/").rpartition("/")[2].removesuffix(".exe")
    return _flags(name, is_login) if len(name) <= 40 else _NO_FLAGS


def _login_flags(word: str) -> dict[str, str]:
    return _flags_of(word, True)


@lru_cache(1024)
def _flags(name: str, is_login: bool) -> dict[str, str]:
    if is_login and _LOGIN[0].fullmatch(name):
        return _LOGIN[1]
    return next((flags for programs, flags in _PROGRAMS if programs.fullmatch(name)), _NO_FLAGS)


def _flags_in(text: str) -> str:
    """The letters of known programs in a text."""
    if _PROGRAM.search(text) is None:
        return text
    words = list(islice(_WORD.finditer(text), _MAX_WORDS))
    plain = [word[0].strip("\"'") for word in words]
    after_letters = [_flags_in(word) if " " in word else word for word in _letters(plain)]
    parts, end = [], 0
    for word, before, after in zip(words, plain, after_letters, strict=True):
        if before != after:
            quote = word[0][:1] if word[0][:1] in ("'", '"') else ""
            parts += [text[end : word.start()], f"{quote}{after}{quote}"]
            end = word.end()
    return "".join((*parts, text[end:]))


def _letters(words: list[str]) -> list[str]:
    """Words of a command, those behind the letters of a known program filtered."""
    filtered: list[str] = []
    flags, is_value, is_login = _NO_FLAGS, False, False
    for word in words:
        if is_value and word[:1] != "-":
            filtered.append(FILTERED)
            is_value = False
            continue
        is_value = False
        name = word.lstrip("-")
        if word[:1] == "-" and flags:
            is_value = name in flags and flags[name] != _JOINED
            filtered.append(word if is_value or word[:2] == "--" else _joined_letter(word, flags))
            continue
        filtered.append(word)
        is_login = is_login or word == "login"
        flags = _flags_of(word, is_login) or flags
        if is_login and not flags:
            flags = next((login_flags for first_word in words[:8] if (login_flags := _login_flags(first_word))), flags)
    return filtered


def _joined_letter(word: str, flags: dict[str, str]) -> str:
    for flag in flags:
        if word.startswith(flag, 1) and len(word) > len(flag) + 1 and len(flag) <= 2:
            return f"-{flag}{FILTERED}"
    return word


def _kept_quotes(value: str) -> str:
    quote = value[:1]
    return f"{quote}{FILTERED}{quote}" if quote in ("'", '"') and len(value) > 1 and value.endswith(quote) else FILTERED


def _named(match: re.Match[str]) -> str:
    lead, name, between, value = match["lead"] or "", match["name"], match["between"], match["value"]
    is_apart = between.isspace()
    if is_apart and lead[:1] != "-":
        return match[0]
    if not is_secret_name(name) and not (name[:1] == "D" and is_secret_name(name[1:])):
        return match[0]
    # auth:login is a task of npm, and a host may be called token; a header has a hyphen, or a blank behind its colon
    if between == ":" and not lead and "-" not in name and name.lower() not in ("authorization", "cookie"):
        return match[0]
    return match[0] if value.startswith("//") else f"{lead}{name}{between}{_kept_quotes(value)}"
