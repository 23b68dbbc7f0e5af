"""`web`: the page and the read API, in a process beside the daemon."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spheroidd.cli.terminal import err, load, say, tell
from spheroidd.errors import SpheroiddError

if TYPE_CHECKING:
    from spheroidd.config import Config


def add_to(app: typer.Typer) -> None:
    app.command()(web)


def web(
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", metavar="FILE", help="The configuration (YAML)."),
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="In place of `web.host`.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", min=0, max=65535, help="In place of `web.port`."),
    ] = None,
    hash_password: Annotated[
        bool,
        typer.Option("--hash-password", help="Ask for a password; print its hash."),
    ] = False,
    new_token: Annotated[
        str | None,
        typer.Option(
            "--new-token",
            metavar="NAME",
            help="Make a token for a program, and what `web.tokens` gets.",
        ),
    ] = None,
) -> None:
    """Watch the plates grow in a browser: overview, growth curves, outlines, review.

    Runs beside the daemon and only reads, except for decisions that people make on its
    pages. On this machine alone (http://127.0.0.1:8765) unless the configuration says otherwise;
    docs/web.md shows how a laboratory gets at it safely. Ctrl-C ends it.
    """
    if hash_password:
        _print_hash()
    elif new_token is not None:
        _print_token(new_token)
    elif config is None:
        raise typer.BadParameter("name the configuration with -c FILE", param_hint="--config")
    else:
        _serve(load(config), host, port)


def _serve(settings: "Config", host: str | None, port: int | None) -> None:
    from spheroidd.store.folder import StateFolder
    from spheroidd.system.logs import open_log
    from spheroidd.web.app import Settings, create_app
    from spheroidd.web.serving import listen, serve

    wanted = settings.web
    host = wanted.host if host is None else host
    log = open_log(settings.logging.level, settings.logging.format)
    app = create_app(
        Settings(
            StateFolder(settings.state_dir), host, wanted.password, wanted.tokens, wanted.names
        ),
        log,
    )
    opened = listen(host, wanted.port if port is None else port)
    address = opened.getsockname()
    shown = f"[{address[0]}]" if ":" in address[0] else address[0]
    log.info("web page", address=f"http://{shown}:{address[1]}/")
    serve(app, app.state.site.live, opened)
    log.info("web page ended")


def _print_hash() -> None:
    from spheroidd.web.passwords import hash_password

    password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    try:
        hashed = hash_password(password)
    except ValueError as error:
        raise SpheroiddError(f"That can't be taken: {error}.") from error
    tell("Put this into the configuration; the password itself is kept nowhere:")
    say(f"web:\n  password: '{hashed}'")


def _print_token(name: str) -> None:
    from spheroidd.web.passwords import new_token

    token, hashed = new_token()
    err.print(f"The token, shown this once: {token}", markup=False, soft_wrap=True)
    tell("It goes into a header: `Authorization: Bearer TOKEN`. Put this into the configuration:")
    say(f"web:\n  tokens:\n    {name}: '{hashed}'")
