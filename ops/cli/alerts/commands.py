"""Commands `axonpush alerts …`: the process that evaluates, and rules through the Web API."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ops.cli.terminal import DEFAULT_DATA_DIR, DataDirOption, JsonOption, counted, print_json, print_list, printable
from ops.runtime.failures import Failed

if TYPE_CHECKING:
    from ops.cli.alerts.web_api import WebApi

UrlOption = Annotated[str | None, typer.Option("--url", metavar="URL", help="Address of the console.")]
RuleArgument = Annotated[str, typer.Argument(metavar="RULE", help="Number of the rule, as `alerts list` shows it.")]
ProjectOption = Annotated[str, typer.Option("--project", metavar="P", help="Slug or number of the channel.")]
FileOption = Annotated[
    str, typer.Option("--file", metavar="F", help="A rule as JSON, as docs/alerts.md describes; - reads it from stdin.")
]
_KINDS: Final = ("issue", "metric", "monitor")

alerts = typer.Typer(help="Evaluate alert rules (without a command); list, make, test and delete them.")


def add_to(app: typer.Typer) -> None:
    """Adds these commands to the command line."""
    app.add_typer(alerts, name="alerts", invoke_without_command=True)


@alerts.callback()
def run(context: typer.Context, data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """Run one process that evaluates alert rules and sends messages; with a command: work on the rules.

    Settings come from AXONPUSH_*, missing addresses from the `up` of this folder. A second process waits and takes over
    within seconds. The commands ask the console: with AXONPUSH_AUTH_TOKEN, else with the token of the `up`.
    """
    if context.invoked_subcommand is None:
        from ops.cli.processes.become import become  # noqa: PLC0415

        become("alerts", data_dir, "console.alerts")


@alerts.command("list")
def list_rules(
    project: ProjectOption = "",
    url: UrlOption = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List rules with their state."""
    rules = _api(url, data_dir).pages("alerts/", project=project)
    columns: dict[str, Any] = {
        "rule": lambda rule: rule["id"],
        "kind": lambda rule: rule["kind"],
        "name": lambda rule: printable(rule["name"]),
        "projects": lambda rule: " ".join(rule["projects"]),
        "when": lambda rule: printable(rule["when"]),
        "tells": lambda rule: "\n".join(f"{entry['type']} {printable(entry['target'])}" for entry in rule["actions"]),
        "state": _state,
        "last fired": lambda rule: _time(rule["state"]["lastFired"]),
    }
    print_list(rules, dict, columns, as_json=as_json)


@alerts.command("show")
def show(
    rule: RuleArgument,
    url: UrlOption = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Show one rule, its state and what it last found."""
    api = _api(url, data_dir)
    shown = api.ask("GET", f"alerts/{_number(rule)}/")
    firings = api.ask("GET", "alerts/firings/", rule=_number(rule), limit=10)
    if as_json:
        print_json({**shown, "firings": firings})
        return
    fields = "; ".join(f"{entry['type']} {entry['target']} ({entry['uuid']})" for entry in shown["actions"])
    lines = {
        "rule": f"{shown['id']} ({shown['kind']}) {shown['name']}",
        "projects": " ".join(shown["projects"]),
        "environment": shown["environment"] or "all",
        "when": shown["when"],
        "tells": fields,
        "state": _state(shown),
        "evaluated": _time(shown["state"]["evaluated"]),
        "last fired": _time(shown["state"]["lastFired"]),
    }
    for name, text in lines.items():
        print(f"{name:<12} {printable(text)}")
    for entry in firings:
        print(f"  {_time(entry['at'])}  {entry['status']:<8} {printable(entry['title'])}")


@alerts.command("create")
def create(  # noqa: PLR0913, PLR0917 (options)
    kind: Annotated[str, typer.Argument(metavar="issue|metric|monitor", help="What the rule is about.")],
    project: ProjectOption,
    file: FileOption,
    url: UrlOption = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Make a rule of a JSON document. Secrets of its webhooks are printed once."""
    if kind not in _KINDS:
        raise typer.BadParameter(f"expected {', '.join(_KINDS)}, found {kind!r}")
    document, api = _document(file), _api(url, data_dir)
    api.tell()
    routes = {"issue": "rules", "metric": "alert-rules", "monitor": "monitor-rules"}
    built = api.ask("POST", f"/projects/{api.organisation}/{_slug(project)}/{routes[kind]}/", document)
    if as_json:
        print_json(built)
        return
    print(built["id"], flush=True)
    print(f"rule {built['id']}: {built['name']}", file=sys.stderr)
    triggers = [entry for trigger in built.get("triggers", []) for entry in trigger["actions"]]
    for action in [*built.get("actions", []), *triggers]:
        if secret := action.get("secret"):
            print(f"secret of {action['url']}: {secret} (keep it now, it is not shown again)", file=sys.stderr)


@alerts.command("delete")
def delete(
    rule: RuleArgument,
    url: UrlOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Delete a rule; messages of it that wait are not sent."""
    number, api = _number(rule), _api(url, data_dir)
    api.tell()
    api.ask("DELETE", f"alerts/{number}/")
    print(f"deleted rule {rule}")


@alerts.command("test")
def send_test(
    rule: RuleArgument,
    action: Annotated[str, typer.Option(metavar="UUID", help="Only this action, as `alerts show` lists it.")] = "",
    url: UrlOption = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Send a test message by each action of a rule. Exits with 1 if one does not arrive."""
    number, api = _number(rule), _api(url, data_dir)
    api.tell()
    answer = api.ask("POST", f"alerts/{number}/test/", {"action": action or None})
    columns: dict[str, Any] = {
        "to": lambda entry: f"{entry['type']} {printable(entry['target'])}",
        "result": lambda entry: "delivered" if entry["delivered"] else "not delivered",
        "answer": lambda entry: printable(entry["answer"]),
    }
    print_list(answer["results"], dict, columns, as_json=as_json)
    if not all(entry["delivered"] for entry in answer["results"]):
        raise typer.Exit(1)


@alerts.command("preview")
def preview(  # noqa: PLR0913, PLR0917 (options)
    rule: Annotated[
        str, typer.Argument(metavar="RULE", help="Number of a rule; or issue, metric or monitor with --file.")
    ],
    file: Annotated[str, typer.Option("--file", metavar="F", help="A rule that is not made yet, as JSON.")] = "",
    project: ProjectOption = "",
    period: Annotated[str, typer.Option(metavar="T", help="So far back, 1h to 14d.")] = "24h",
    url: UrlOption = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Show what a rule would have told in the last hours or days. Nobody is told."""
    if (rule in _KINDS) != bool(file) or bool(file) != bool(project):
        raise typer.BadParameter("expected the number of a rule, or issue, metric or monitor with --file and --project")
    path, document = f"alerts/{rule if file else _number(rule)}/preview/", None
    if file:
        path, document = "alerts/preview/", {"kind": rule, "project": project, "rule": _document(file)}
    answer = _api(url, data_dir).ask("POST", path, document or {}, statsPeriod=period)
    if as_json:
        print_json(answer)
        return
    columns: dict[str, Any] = {
        "at": lambda entry: _time(entry["at"]),
        "status": lambda entry: entry["status"],
        "what": lambda entry: printable(entry["title"]),
        "why": lambda entry: printable(entry["message"]),
    }
    print_list(answer["firings"], dict, columns, as_json=False)
    looked = f"from {_time(answer['from'])} to {_time(answer['to'])} UTC"
    rest = "; there was no time to look at more" if answer["isCut"] else ""
    print(f"would have fired {counted(answer['number'], 'time')} {looked}{rest}", file=sys.stderr)


@alerts.command("deliveries")
def deliveries(  # noqa: PLR0913, PLR0917 (options)
    rule: Annotated[str, typer.Option("--rule", metavar="RULE", help="Only messages of this rule.")] = "",
    status: Annotated[str, typer.Option(metavar="S", help="pending, delivered or failed.")] = "",
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=100, help="The newest N.")] = 25,
    url: UrlOption = None,
    as_json: JsonOption = False,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """List messages with their result, the newest first."""
    options = {"rule": _number(rule) if rule else "", "status": status, "limit": limit}
    result = _api(url, data_dir).ask("GET", "alerts/deliveries/", **options)
    columns: dict[str, Any] = {
        "message": lambda entry: entry["id"],
        "at": lambda entry: _time(entry["at"]),
        "rule": lambda entry: printable(entry["rule"]["name"]),
        "about": lambda entry: printable(entry["title"]),
        "to": lambda entry: f"{entry['type']} {printable(entry['target'])}",
        "result": lambda entry: f"{entry['status']} ({entry['attempts']})",
        "answer": lambda entry: printable(entry["answer"]),
        "next try": lambda entry: _time(entry["nextTry"]),
    }
    print_list(result, dict, columns, as_json=as_json)


def _api(url: str | None, data_dir: Path) -> WebApi:
    from ops.cli.alerts.web_api import web_api  # noqa: PLC0415

    return web_api(url, data_dir)


def _number(text: str) -> str:
    if not (text.isascii() and text.isdigit()):
        raise typer.BadParameter(f"expected the number of a rule as `axonpush alerts list` shows it, found {text!r}")
    return text


def _slug(text: str) -> str:
    from urllib.parse import quote  # noqa: PLC0415

    return quote(text, safe="")


def _document(file: str) -> Any:
    try:
        document = json.loads(sys.stdin.read() if file == "-" else Path(file).read_text())
    except OSError as error:
        raise Failed(f"--file: expected a file that can be read, found none ({error.strerror}): {file}") from None
    except ValueError as error:
        raise Failed(f"--file: expected JSON, found other text ({error})") from None
    return document


def _state(rule: dict[str, Any]) -> str:
    state = rule["state"]
    parts = [state["status"]]
    if state["status"] in ("firing", "warning") and state["since"]:
        parts.append(f"since {_time(state['since'])}")
    if state["error"]:
        parts.append(printable(state["error"]))
    if state["failing"]:
        parts.append(f"{counted(state['failing'], 'message')} not delivered")
    return "; ".join(parts)


def _time(text: str | None) -> str:
    return "" if not text else text[:19].replace("T", " ")
