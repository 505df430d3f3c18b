"""Arguments -> configuration -> run. The only place that prints.

Exit codes: 0 done (also after a drained SIGTERM), 1 a camera or sink ended `failed`, 2 usage or configuration, 4 a
model or engine was refused, 130 interrupted. Errors are one sentence on stderr; a traceback comes only with --debug,
which may stand anywhere, and so does FFmpeg's log. With --json, stdout holds the answer alone and people's text goes
to stderr.
"""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.exceptions import TyperException

from engines.cli import app as engines_app
from engines.errors import EngineError
from stream import config as settings
from stream.arguments import cameras, split
from stream.errors import ConfigError, SinkError, SourceError, StreamError
from stream.events import Event
from stream.sinks.base import Accepted
from stream.stderr_filter import filtered
from stream.urls import expand, has_password, mask, scrub

if TYPE_CHECKING:
    from stream.web.client import Api

log = logging.getLogger(__name__)

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_MODEL, EXIT_INTERRUPTED = 0, 1, 2, 4, 130

EXIT_CODES: tuple[tuple[tuple[type[Exception], ...], int], ...] = (
    ((EngineError,), EXIT_MODEL),
    ((ConfigError, SinkError, SourceError), EXIT_USAGE),  # before any camera started; later they are the camera's own
    ((StreamError,), EXIT_FAILED),
)

app = typer.Typer(
    help="Emotions of tracked faces from many cameras, as events in Redis. --debug anywhere adds tracebacks.",
    pretty_exceptions_enable=False,  # its tracebacks show local variables, and those may hold addresses
    rich_markup_mode=None,  # a usage error is a sentence, not a box
    add_completion=False,
)

Sources = Annotated[list[str] | None, typer.Argument(metavar="[NAME=]SOURCE...", help="File, URL or device number")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file; deploy/emostream.example.yaml lists all")]
RedisUrl = Annotated[str | None, typer.Option("--redis", metavar="URL", help="Default: a private Redis")]
Http = Annotated[
    str | None, typer.Option("--http", metavar="HOST:PORT", help="Serve the live page, the API and metrics there")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else there")]
Hold = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Keep the private Redis this many seconds after the last file [default: at a terminal, until Ctrl-C]",
    ),
]


def main() -> NoReturn:
    """The console script: every error becomes one sentence and an exit code."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    _log_to_stderr(debug)
    for argument in arguments:
        _hide_password(argument)
    with filtered() if debug else nullcontext():
        try:
            sys.exit(app(arguments or ["--help"], prog_name="emostream", standalone_mode=False))
        except Exception as error:
            sys.exit(_refuse(error, debug))


def _refuse(error: Exception, debug: bool) -> int:
    """Say what was wrong, once and without credentials; the exit code for it."""
    if isinstance(error, BrokenPipeError):  # whoever read our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_DONE
    if isinstance(error, typer.Abort):
        return EXIT_INTERRUPTED
    if isinstance(error, TyperException):  # of what was typed; where Typer found it helps nobody
        words = error.format_message()
        for argument in sys.argv[1:]:
            words = words.replace(argument, mask(argument))  # whole, whatever stands in it
        say(f"emostream: {words} (emostream --help)")
        return EXIT_USAGE
    if debug:
        print(scrub("".join(traceback.format_exception(error))), file=sys.stderr)
    for kinds, code in EXIT_CODES:
        if isinstance(error, kinds):
            say(f"emostream: {error}")
            return code
    if isinstance(error, ImportError):
        say(f"emostream: a library is missing ({error}); `emostream doctor` says which, and how to get it")
        return EXIT_FAILED
    say(f"emostream: unforeseen {type(error).__name__}: {error}; --debug shows where")
    return EXIT_FAILED


@app.command()
def run(
    sources: Sources = None,
    config: ConfigFile = None,
    redis: RedisUrl = None,
    out: Annotated[Path | None, typer.Option(help="Also write events to this JSON Lines file")] = None,
    every_frame: Annotated[bool, typer.Option("--every-frame", help="Analyse every frame")] = False,
    analyse_hz: Annotated[
        float | None, typer.Option(help="Analysed frames a second of media time [default: 5]")
    ] = None,
    realtime: Annotated[bool, typer.Option("--realtime", help="Play files at their own speed")] = False,
    start_at: Annotated[str | None, typer.Option(metavar="TIME", help="When the recordings began, ISO 8601")] = None,
    hold: Hold = None,
    http: Http = None,
    engine_wait: Annotated[
        bool, typer.Option("--engine-wait", help="Build missing engines first, not beside a run on ONNX Runtime")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a worker on cameras and files until they end or a signal comes."""
    source_settings: dict[str, Any] = {
        **({"analyse_hz": analyse_hz} if analyse_hz is not None else {}),
        **({"analyse_hz": None} if every_frame else {}),
        **({"realtime": True} if realtime else {}),
        **({"start_at": start_at} if start_at is not None else {}),
    }
    overrides = _overrides(redis, out, hold, http)
    if source_settings:
        overrides["source"] = source_settings
    if engine_wait:
        overrides["engine"] = {"wait": True}
    if sources:
        overrides["cameras"] = cameras(sources)
    _work(settings.load(config, overrides), as_json)


@app.command()
def demo(
    redis: RedisUrl = None,
    out: Annotated[Path | None, typer.Option()] = None,
    hold: Hold = None,
    realtime: Annotated[bool, typer.Option("--realtime")] = False,
    http: Http = None,
    as_json: AsJson = False,
) -> None:
    """Four cameras made from one portrait: the whole path on real models and a real Redis, no video needed."""
    from stream.demo import make_clips
    from stream.launch import find_models

    find_models(settings.Config())  # before the work of making clips
    with tempfile.TemporaryDirectory(prefix="emostream-demo-") as folder:
        say("making four short camera clips from one portrait")
        clips = [{"name": clip.stem, "source": str(clip)} for clip in make_clips(Path(folder))]
        overrides = {**_overrides(redis, out, hold, http), "cameras": clips, "source": {"realtime": realtime}}
        _work(settings.load(None, overrides), as_json)


@app.command()
def watch(
    redis: RedisUrl = None,
    camera: Annotated[list[str] | None, typer.Option(help="Only these cameras")] = None,
    from_: Annotated[str, typer.Option("--from", metavar="start|new|ID", help="Where to begin")] = "new",
    idle: Annotated[float | None, typer.Option(min=0, help="End after this many seconds without an event")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One event a line on stdout instead of the screen")] = False,
) -> None:
    """A live screen of cameras, faces and moods; in a pipe or file, a line for each thing that happens."""
    from stream.client import subscribe

    events = subscribe(_redis_url(redis), cameras=camera, from_=from_, idle_s=idle)
    try:
        if as_json:
            for event in events:
                print(event.to_json(), flush=True)
        else:
            _show(events)
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_INTERRUPTED) from None
    finally:
        events.close()


def _show(events: Iterable[Event]) -> None:
    """Events for people, until they end: on a screen of its own, whose last state stays."""
    from rich.live import Live

    from stream.watch import Board, Screen, line

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    if not console.is_terminal:
        for event in events:
            if (text := line(event)) is not None:
                console.print(text)
        return
    screen = Screen(Board())
    try:
        with Live(screen, console=console, screen=True, refresh_per_second=4):
            for event in events:
                screen.update(event)
    finally:
        console.print(screen)


@app.command()
def report(
    recording: Annotated[Path, typer.Argument(metavar="EVENTS", help="JSON Lines, as `run --out` writes them")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="The page [default: beside EVENTS, .html]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """A recording of events as one HTML page: timelines, shares of time, transitions, and tables as CSV."""
    from stream.report import fold, write

    made = fold(recording)
    target = out or recording.with_suffix(".html")
    size = write(made, recording, target)
    for sentence in made.sentences():
        say(sentence)
    say(f"{target}: {size / 1000:.0f} kB, {sum(len(part.tracks) for part in made.parts)} faces")
    if as_json:
        answer({"report": str(target), "bytes": size, **made.as_json()})


@app.command()
def doctor(sources: Sources = None, config: ConfigFile = None, redis: RedisUrl = None, as_json: AsJson = False) -> None:
    """What this machine has, what is missing or broken, and what to do about it; each camera is opened for 2 s."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from stream.doctor import examine, healthy

    overrides = _overrides(redis)
    if sources:
        overrides["cameras"] = cameras(sources)
    findings = list(examine(settings.load(config, overrides)))
    if as_json:
        answer({"healthy": healthy(findings), "findings": [finding.as_json() for finding in findings]})
    else:
        drawn = Table("what", "state", "detail, and what to do", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for finding in findings:
            detail = scrub(finding.detail) + (f"\n-> {finding.mend}" if finding.mend else "")
            style = "" if finding.state in ("ok", "optional") else "bold red"
            cells = (finding.what, finding.state, detail)
            drawn.add_row(*(Text(cell, style=style, overflow="fold") for cell in cells))
        Console().print(drawn)
    if not healthy(findings):
        raise typer.Exit(EXIT_FAILED)


@app.command()
def bench(
    clip: Annotated[Path | None, typer.Argument(help="A video with faces [default: a clip of the demo]")] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What to measure, again and again: cost, start, fidelity (these by default), capacity, scaling, "
            "memory, rivals, or all",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds; medians are reported")] = 5,
    as_json: AsJson = False,
    append: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Add a row to the table of figures in this Markdown file")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """What it costs against decoding alone, how fast it starts, how many cameras it holds; and what was wanted."""
    from stream.bench import instrument, table
    from stream.demo import make_clips

    parts = instrument.chosen(part or [])
    if append is not None and config is not None:
        raise ConfigError("a row of the table is of the default settings; leave out --append or --config")
    measured = None if config is None else settings.load(config, {})
    if append is not None:
        table.check(append)
    with tempfile.TemporaryDirectory(prefix="emostream-bench-") as folder:
        if clip is None:
            *_, clip = make_clips(Path(folder))
        figures = instrument.measure(clip, parts, repeats, say, measured)
    if as_json:
        answer(figures)
    else:
        Console().print(instrument.report(figures))
    if append is not None and figures["counts"] is None:
        table.append(append, figures)
    elif append is not None:
        say(f"no row was added to {mask(str(append))}: {figures['counts']}")
    if not figures["parts"].get("fidelity", {"passed": True})["passed"]:
        raise typer.Exit(EXIT_FAILED)


app.add_typer(engines_app, name="engines")

cameras_app = typer.Typer(help="Cameras of a worker that runs with --http: list, add and remove them.")
app.add_typer(cameras_app, name="cameras")

Url = Annotated[
    str | None, typer.Option(metavar="URL", help="Of the worker's page [default: the one that was started last]")
]
Token = Annotated[
    str | None, typer.Option(help="What web.token says; in single quotes '${VARIABLE}' or '${file:PATH}'")
]


@cameras_app.command("list")
def list_cameras(url: Url = None, token: Token = None, as_json: AsJson = False) -> None:
    """Every camera, its state, and what was left out of it."""
    from rich.table import Table
    from rich.text import Text

    found = _api(url, token).cameras()
    if as_json:
        answer({"cameras": found})
        return
    drawn = Table("camera", "state", "source", "skipped", "reason")
    for info in found:
        skipped = ", ".join(f"{count} ({cause})" for cause, count in info["skipped"].items())
        cells = (info["name"], info["state"], info["source"], skipped, info["reason"] or "")
        drawn.add_row(*(Text(cell, overflow="fold") for cell in cells))
    Console().print(drawn)


@cameras_app.command("add")
def add_camera(
    source: Annotated[str, typer.Argument(metavar="[NAME=]SOURCE", help="As for `run`; files are the worker's")],
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Begin with one camera more."""
    name, place = split(source)
    info = _api(url, token).add(name, expand(place, os.environ))
    if as_json:
        answer(info)
    else:
        say(f"camera {info['name']} was added: {info['source']}")


@cameras_app.command("remove")
def remove_camera(
    name: Annotated[str, typer.Argument(metavar="NAME")], url: Url = None, token: Token = None, as_json: AsJson = False
) -> None:
    """End a camera; what it has told stays in Redis."""
    _api(url, token).remove(name)
    if as_json:
        answer({"removed": name})
    else:
        say(f"camera {name} was removed")


@app.command(
    "train",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    help="Train, evaluate and export networks: fit, evaluate, export, template.",
)
def train(context: typer.Context) -> None:
    # by name and late: run time never depends on training, whose packages most installations do not have
    importlib.import_module("train.cli").app(context.args, prog_name="emostream train")


def _work(config: settings.Config, as_json: bool) -> None:
    """Run the worker and end with the exit code of what it came to."""
    from stream.launch import Ended, launch, wait_until
    from stream.watch import line

    if not config.cameras and config.web.address is None:
        raise ConfigError("there is no camera to run; name one, as in: emostream run lobby=rtsp://camera/stream")
    console = Console(stderr=as_json, highlight=False, soft_wrap=True)

    def show(accepted: Accepted) -> None:
        if (text := line(accepted.event)) is not None:
            console.print(text)

    def after(ended: Ended, private_url: str | None, asked: Callable[[], bool]) -> None:
        for sentence in ended.sentences():
            say(sentence)
        if as_json:
            answer(ended.as_json())
        seconds = 0.0 if config.web.address is not None else _hold_s(config)  # with a page, the worker itself stays
        if private_url is not None and seconds > 0 and ended.exit_code == EXIT_DONE and ended.signal is None:
            until = "Ctrl-C" if math.isinf(seconds) else f"{seconds:g} s are over"
            watch = f"emostream watch --from start --redis {private_url}"
            say(f"every camera has ended; Redis stays until {until}: {watch}")
            wait_until(asked, seconds)

    raise typer.Exit(launch(config, say=say, show=show, after=after).exit_code)


def _hold_s(config: settings.Config) -> float:
    """How long a private Redis stays for whoever still wants to read: as asked for, else for a person at a terminal."""
    if config.run.hold_s is not None:
        return config.run.hold_s
    # a stream is None where the program was started with it closed
    there = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
    return math.inf if there else 0.0


def _overrides(
    redis: str | None, out: Path | None = None, hold: float | None = None, http: str | None = None
) -> dict[str, Any]:
    """What these options lay over the configuration file; an option that was not given lays nothing."""
    run_settings = {**({"out": out} if out is not None else {}), **({"hold_s": hold} if hold is not None else {})}
    return {
        **({"redis": {"url": redis}} if redis is not None else {}),
        **({"run": run_settings} if run_settings else {}),
        **({"web": {"address": http}} if http is not None else {}),
    }


def _redis_url(given: str | None) -> str:
    """The Redis to read from: the one named, else the private one of a worker that runs here."""
    if given is not None:
        return expand(given, os.environ)
    from stream.private_redis import find

    url = find()
    if url is None:
        raise ConfigError(
            "no worker with a private Redis runs here; start one with `emostream run`, or give --redis URL"
        )
    return url


def _api(url: str | None, token: str | None) -> Api:
    """The API of the worker that is meant. Raises ConfigError when none is."""
    from stream.web.client import Api, find

    found = url if url is not None else find()
    if found is None:
        raise ConfigError("no worker with a page runs here; start one with `emostream run --http`, or give its --url")
    return Api(found, None if token is None else expand(token, os.environ))


def _hide_password(address: str) -> None:
    """A password on the command line works, but everybody on this machine can read it: warn, and wipe it."""
    if not has_password(address):
        return
    from stream.proctitle import wipe

    wipe(address)
    say(
        "a password on the command line can be seen by others; write '${VARIABLE}' in its place, in single quotes so "
        "that the shell leaves it alone, and export the variable"
    )


def _log_to_stderr(debug: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormat(debug))
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[handler])
    threading.excepthook = _log_ended_thread


def _log_ended_thread(ended: threading.ExceptHookArgs) -> None:
    """Python itself would print the traceback as it is."""
    if ended.exc_value is not None:
        name = ended.thread.name if ended.thread else "unknown"
        log.error("the thread %s ended in an unforeseen way", name, exc_info=ended.exc_value)


class LogFormat(logging.Formatter):
    """Takes credentials out of messages and out of the tracebacks below them, which only --debug shows."""

    def __init__(self, debug: bool) -> None:
        super().__init__("%(levelname)s %(message)s")
        self._debug = debug

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record))

    def formatException(self, ei: Any) -> str:
        if self._debug:
            return super().formatException(ei)
        return f"{ei[0].__name__}: {ei[1]}; --debug shows where"


def say(text: str) -> None:
    """One line for people, on stderr, without credentials."""
    print(scrub(text), file=sys.stderr, flush=True)


def answer(value: Any) -> None:
    """One JSON object on stdout."""
    print(json.dumps(value), flush=True)
