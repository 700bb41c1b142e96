"""Secrets in command lines: filtered as a list and as one text, and what is none stays."""

from __future__ import annotations

import pytest

from workers.normalise.secrets.commands import FILTERED, filtered_command, is_secret_name
from workers.normalise.secrets.headers import filter_attributes, is_secret_header

SECRET = "hunter2"
WITH_SECRET = [
    ["app", "--password", SECRET, "run"],
    ["app", f"--password={SECRET}"],
    ["app", f'--password="{SECRET} more"'],
    ["app", "-password", SECRET],
    ["app", f"/password:{SECRET}"],
    ["app", "--quiet", "--password", SECRET],
    ["app", "--api-key", SECRET],
    ["app", f"--apiKey={SECRET}"],
    ["app", f"--auth-token={SECRET}"],
    ["app", "--db-pass", SECRET],
    ["app", f"--password={SECRET};a&b|c"],
    ["mysql", "-u", "root", f"-p{SECRET}", "shop"],
    ["/usr/bin/mysqldump", f"-p{SECRET}"],
    ["C:\\tools\\mysql.exe", f"-p{SECRET}"],
    ["sudo", "mariadb-dump", f"-p{SECRET}"],
    ["sshpass", "-p", SECRET, "ssh", "host"],
    ["sshpass", f"-p{SECRET}", "ssh", "host"],
    ["redis-cli", "-a", SECRET],
    ["docker", "login", "-u", "me", "-p", SECRET],
    ["curl", "-u", f"me:{SECRET}", "http://host/"],
    ["curl", "-H", f"Authorization: Bearer {SECRET}"],
    ["curl", "-H", f"X-Api-Key: {SECRET}"],
    ["7z", "x", f"-p{SECRET}", "a.7z"],
    ["ldapsearch", "-w", SECRET],
    ["openssl", "rsa", "-passin", f"pass:{SECRET}"],
    ["keytool", "-storepass", SECRET],
    ["java", f"-Ddb.password={SECRET}", "-jar", "a.jar"],
    ["env", f"GITHUB_TOKEN={SECRET}", "app"],
    ["docker", "run", "-e", f"API_KEY={SECRET}", "image"],
    ["docker", "run", f"--env=API_KEY={SECRET}", "image"],
    ["sh", "-c", f"mysql -uroot -p{SECRET} shop"],
    ["sh", "-c", f"PGPASSWORD={SECRET} psql"],
    ["app", f"postgres://me:{SECRET}@host/shop"],
    ["app", f"https://me:p@{SECRET}@host/"],
    ["app", f"redis://:{SECRET}@host"],
    ["git", "clone", f"https://ghp_{SECRET}0123456789abcdef@host/a.git"],
    ["app", f"http://host/?a=b&token={SECRET}&c=d"],
    ["app", f"Server=db;Password={SECRET};Database=shop"],
    ["app", f"host=db password={SECRET} user=me"],
    ["app", f'{{"password":"{SECRET}"}}'],
]
WITHOUT = [
    ["docker", "run", "-p", "8080:80", "image"],
    ["mkdir", "-p", "a/b"],
    ["psql", "-p", "5432"],
    ["app", "--password-file", "/run/password"],
    ["docker", "login", "--password-stdin", "registry.example"],
    ["app", "--max-tokens", "100"],
    ["app", "--sort-key", "name", "--cache-key=a", "--partition-key", "b"],
    ["app", "--author", "me", "--bypass", "x", "--compass", "y"],
    ["app", "--tokenizer", "bpe", "--keyspace", "k"],
    ["java", "-Xmx2g", "-XX:+UseG1GC", "-cp", "/a:/b", "Main"],
    ["git", "clone", "git@github.com:a/b.git"],
    ["curl", "http://host/path?sort=key&keyword=a"],
    ["npm", "run", "auth:login"],
]


def line(arguments: list[str]) -> str:
    """As a shell would write it."""
    return " ".join(f"'{one}'" if " " in one and '"' not in one else one for one in arguments)


@pytest.mark.parametrize("arguments", WITH_SECRET, ids=line)
def test_a_secret_is_filtered_from_arguments_and_from_a_line(arguments: list[str]) -> None:
    """And the rest of the command stays readable."""
    for command in (arguments, line(arguments)):
        filtered = filtered_command(command)
        assert SECRET not in str(filtered)
        assert FILTERED in str(filtered)
        assert str(filtered).startswith(str(command)[:4])


@pytest.mark.parametrize("arguments", WITHOUT, ids=line)
def test_what_is_no_secret_stays(arguments: list[str]) -> None:
    """A command line is worth having: only secrets go."""
    assert filtered_command(arguments) == arguments
    assert filtered_command(line(arguments)) == line(arguments)


def test_arguments_as_json_text_stay_json() -> None:
    """As a list that became text on its way."""
    assert filtered_command('["app","--token","hunter2"]') == '["app","--token","[Filtered]"]'


def test_a_number_behind_an_option_is_a_secret_too() -> None:
    """JSON knows more than texts."""
    assert filtered_command(["app", "--pin-token", 4711, 8]) == ["app", "--pin-token", FILTERED, 8]


@pytest.mark.parametrize(
    "name", ["DB_PASSWORD", "clientSecret", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "x.auth", "MYSQL_PWD"]
)
def test_names_of_secrets(name: str) -> None:
    """In every way of writing."""
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["password_file", "TOKEN_TTL", "max_tokens", "author", "secret-name", "keyboard", "no-password"]
)
def test_names_about_secrets(name: str) -> None:
    """Where it is and how long it lasts is none."""
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "X-Api-Key", "x_api_key", "apikey", "X-RapidAPI-Key", "Ocp-Apim-Subscription-Key"),
        *("x-functions-key", "X-Auth-Key", "DD-APPLICATION-KEY", "x-access-key", "X-Secret-Key", "X-CSRFToken", "Key"),
        *("x-amz-server-side-encryption-customer-key", "Set-Cookie", "X-Amz-Security-Token", "x-session-id"),
    ],
)
def test_headers_that_are_secrets(name: str) -> None:
    """By the words that say so."""
    assert is_secret_header(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "x-foo-key",
            "x-sort-key",
            "Idempotency-Key",
            "cache-key",
            "x-cache-key",
            "Sec-WebSocket-Key",
            "surrogate-key",
        ),
        *(
            "x-partition-key",
            "x-routing-key",
            "x-message-key",
            "keep-alive",
            "x-keyboard",
            "x-monkey",
            "x-user-key-count",
        ),
        *("access-control-allow-credentials", "signature-input", "x-token-count", "x-ratelimit-remaining-tokens"),
    ],
)
def test_headers_that_are_none(name: str) -> None:
    """A key of a cache or of a table is what one looks for in a trace."""
    assert not is_secret_header(name)


def test_each_kind_of_attribute() -> None:
    """As bare values, and as Sentry's cells."""
    cell = {"value": ["app", "--token", SECRET], "type": "array"}
    attributes = {
        "process.command_args": ["app", "--token", SECRET],
        "process.command_line": f"app --token {SECRET}",
        "process.environment_variable.DB_PASSWORD": SECRET,
        "process.environment_variable.PATH": "/bin",
        "url.full": f"https://me:{SECRET}@host/",
        "other.argv": cell,
        "message": f"--token {SECRET}",
    }
    assert filter_attributes(attributes)
    assert attributes == {
        "process.command_args": ["app", "--token", FILTERED],
        "process.command_line": f"app --token {FILTERED}",
        "process.environment_variable.DB_PASSWORD": FILTERED,
        "process.environment_variable.PATH": "/bin",
        "url.full": f"https://me:{FILTERED}@host/",
        "other.argv": {"value": ["app", "--token", FILTERED], "type": "array"},
        "message": f"--token {SECRET}",
    }
