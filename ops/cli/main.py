"""The command `axonpush`: its options, and how errors are shown. Other files do the work."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ops.cli import artifacts, cluster, migrate, refusals, replay, status
from ops.cli.alerts import commands as alerts
from ops.cli.dead import commands as dead
from ops.cli.installed import check_packages
from ops.cli.processes import canary, janitor
from ops.cli.processes.become import become
from ops.cli.registry import channels, file, keys, organisations, tokens
from ops.cli.terminal import DEFAULT_DATA_DIR, DataDirOption, JsonOption, console, fail
from ops.runtime.environment.variables import check_variables
from ops.runtime.failures import Failed

UpDirOption = Annotated[Path, typer.Option("--data-dir", metavar="D", help="Folder for data, keys and logs.")]
HostOption = Annotated[str, typer.Option(help="Address the receiver listens on.")]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port of the receiver; 0 = any free port.")]
ClickHousePortOption = Annotated[
    int, typer.Option(min=0, max=65535, help="Port of the embedded ClickHouse; 0 = any free port.")
]
NatsPortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port of the embedded NATS; 0 = any free port.")]
ConsolePortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port of the console; 0 = any free port.")]
WorkersOption = Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")]
TypesArgument = Annotated[list[str], typer.Argument(metavar="TYPE...|all", help="Workers to run in this process.")]
QueryArgument = Annotated[str, typer.Argument(metavar="QUERY", help="The query in quotes; - reads it from stdin.")]
FormatOption = Annotated[str | None, typer.Option("--format", metavar="F", help="A ClickHouse format, e.g. TSV.")]
ParamOption = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="A value for {NAME:Type} in the query; repeatable."),
]
OperatorOption = Annotated[
    bool, typer.Option("--operator", help="With `up`: use the operator's rights, which may change tables.")
]

app = typer.Typer(
    name="axonpush",
    help="Sentry and OpenTelemetry in, SQL out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help does not cut option names at 80 columns
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (
    cluster,
    channels,
    keys,
    tokens,
    organisations,
    file,
    replay,
    dead,
    janitor,
    migrate,
    status,
    refusals,
    artifacts,
    alerts,
    canary,
):
    commands.add_to(app)


def main() -> NoReturn:
    """The entry point. Exit codes: 0 done, 1 failed, 2 bad usage."""
    try:
        check_packages()
        if not {"-h", "--help"} & set(sys.argv[1:]):
            check_variables()
        app()
    except Failed as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted")
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # users get one message; AXONPUSH_LOG_LEVEL=debug shows the traceback
        if os.environ.get("AXONPUSH_LOG_LEVEL", "").lower() == "debug":
            raise
        _explain(error)
    sys.exit(0)


@app.command()
def up(  # noqa: PLR0913, PLR0917 (options)
    context: typer.Context,
    data_dir: UpDirOption = DEFAULT_DATA_DIR,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8080,
    clickhouse_port: ClickHousePortOption = 8123,
    nats_port: NatsPortOption = 4222,
    console_port: ConsolePortOption = 8081,
    workers: WorkersOption = 1,
    adopt_tables: cluster.AdoptTablesOption = False,
    take_back: cluster.TakeBackOption = False,
) -> None:
    """Run everything on this machine: receiver, workers, console, alerts, janitor, and embedded NATS and ClickHouse.

    With AXONPUSH_NATS_URL or AXONPUSH_CLICKHOUSE_URL that server is used instead of an embedded one. Every start
    migrates, and prints addresses and keys.
    """
    from ops.local import up as work  # noqa: PLC0415
    from ops.local.start.addresses import Options  # noqa: PLC0415

    cluster.check_taking(adopt_tables=adopt_tables, take_back=take_back)
    _check_ports_of_named_servers(context, {"clickhouse_port": clickhouse_port, "nats_port": nats_port})
    options = Options(data_dir, host, port, clickhouse_port, nats_port, console_port, workers, adopt_tables, take_back)
    asyncio.run(work.up(options, console()))


def _check_ports_of_named_servers(context: typer.Context, given: dict[str, int]) -> None:
    """Who gives a port means an embedded server, so joining another system instead would be a surprise.

    0, any free port, asks for nothing that a named server could not do.
    """
    for name, port in given.items():
        source, variable = context.get_parameter_source(name), f"AXONPUSH_{name.removesuffix('_port').upper()}_URL"
        if port and os.environ.get(variable) and source and source.name == "COMMANDLINE":
            option = f"--{name.replace('_', '-')} {port}"
            raise typer.BadParameter(
                f"expected {option}, the port of an embedded server, or {variable}, the address of a running one; "
                f"found both: unset {variable}, or leave out {option}"
            )


@app.command()
def receiver(data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """Run one receiver; settings come from AXONPUSH_*, missing addresses from the `up` of this folder."""
    become("receiver", data_dir, "receiver")


@app.command()
def worker(types: TypesArgument, data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """Run one worker process for the given item types.

    Settings come from AXONPUSH_*, missing addresses from the `up` of this folder. `axonpush up --workers N` starts N.
    """
    from schemas.subjects import SOURCES  # noqa: PLC0415

    if unknown := [name for name in types if name not in SOURCES and name != "all"]:
        raise typer.BadParameter(f"expected {', '.join(SOURCES)} or all, found {', '.join(unknown)}")
    become("worker", data_dir, "workers", *types)


@app.command("console")
def run_console(data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """Run one console: the Web API; settings come from AXONPUSH_*, missing addresses from the `up` of this folder."""
    become("console", data_dir, "console")


@app.command()
def sql(  # noqa: PLR0913, PLR0917 (options)
    query: QueryArgument,
    output_format: FormatOption = None,
    as_json: JsonOption = False,
    as_operator: OperatorOption = False,
    parameters: ParamOption = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Query events, outcomes and dead_letters."""
    from ops.cli import sql as work  # noqa: PLC0415
    from ops.cli.servers import find_settings  # noqa: PLC0415
    from ops.cli.works_on import tell_system  # noqa: PLC0415
    from ops.local.clickhouse_http.access.users import OPERATOR, READER  # noqa: PLC0415

    if as_json and output_format:
        raise typer.BadParameter("expected --json or --format, found both")
    text = sys.stdin.read() if query == "-" else query
    settings = find_settings(data_dir, OPERATOR if as_operator else READER, asks=("clickhouse_url",))
    if as_operator:
        tell_system(settings, data_dir)
    work.run(settings, work.Query(text, output_format, as_json, _read_parameters(parameters or [])), console())


def _read_parameters(parameters: list[str]) -> dict[str, str]:
    """`name=value` of each --param."""
    named = {}
    for parameter in parameters:
        name, equals, value = parameter.partition("=")
        if not equals or not name.isidentifier():
            raise typer.BadParameter(f"expected --param name=value for {{name:Type}} in the query, found {parameter!r}")
        named[name] = value
    return named


def _explain(error: Exception) -> NoReturn:
    from pydantic import ValidationError  # noqa: PLC0415

    from ops.runtime.process.start_errors import BAD_USAGE, settings_text  # noqa: PLC0415

    if isinstance(error, ValidationError):  # pydantic's error for settings from the environment
        fail(settings_text(error), code=BAD_USAGE)
    fail(f"{type(error).__name__}: {error} (AXONPUSH_LOG_LEVEL=debug shows where)")
