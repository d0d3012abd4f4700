"""The command line, `did`: thin over the package.

For example::

    did prepare ffpp --root /path/to/FaceForensics++
    did data check ffpp --root /path/to/FaceForensics++

`did --help` lists everything. What the user can fix is one sentence on standard error, with exit status 1.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

import did
from did.errors import DidError, nearest

# What a command needs from did is imported when it runs: torch takes seconds, and `--help` must not.

#: Drawings that could not be written, of which `did predict` says why.
FAILURES_SHOWN = 5


class _Commands(click.Group):
    """Commands that print a DidError as one sentence, and what the file system refuses, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DidError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # Nobody reads on: click ends in silence.
                raise
            named = f"{error.filename!r} cannot be read or written" if error.filename else "the system refuses"
            raise click.ClickException(f"{named} ({(error.strerror or str(error)).lower()}).") from error

    # Commands of other packages: entry points of the group `did.commands`.
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *entry_points(group="did.commands").names})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        known = super().get_command(ctx, cmd_name)
        for point in () if known else entry_points(group="did.commands", name=cmd_name):
            return point.load()
        return known


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(did.__version__)
def main() -> None:
    """Run the executable companion to CrossDF: data, training and results.

    \b
    In any folder: compare, data, export, ledger, power, predict, prepare, pull, push, runs, test, train, worlds.
    In a checkout of the project only: book.

    What is made is kept in data/, runs/ and results/ of the folder that DID_HOME names, else of the checkout around the
    working folder, else of the working folder. Licensed data are looked for in the folder that DID_DATA names.
    """  # noqa: D301 - click reads the control character
    from did.utils.processes import isolated

    if sys.platform == "win32":  # Locks, child processes and the packages' lock are for POSIX systems.
        raise DidError("did runs on Linux and macOS: on Windows, install and run it inside WSL 2 (`wsl --install`)")
    click.get_current_context().with_resource(isolated())


@main.group()
def data() -> None:
    """Look at a data set."""


class _Path(click.Path):
    """A path with `~` expanded, also in `--root=~/data`, where a shell leaves it."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(os.path.expanduser(value), param, ctx)


def _load_plugins(context: click.Context, option: click.Parameter, plugins: tuple[str, ...]) -> None:
    from did.utils.plugins import load_plugin

    for plugin in plugins:
        load_plugin(plugin)


_plugin = click.option(
    "--plugin",
    multiple=True,
    metavar="FILE",
    expose_value=False,
    is_eager=True,
    callback=_load_plugins,
    help="A Python file, or a module, that registers a task or a layout of your own.",
)


def _source_options(command: Callable) -> Callable:
    """Add SOURCE and the options that say where it is; the command gets them as `given`, for `open_source`."""

    @functools.wraps(command)
    def told(
        source: str, root: Path | None, methods: str | None, edition: str, faces: str | None, world: int, preset: str,
        strict: bool, allow_missing: bool, **more: Any,
    ) -> Any:  # fmt: skip
        given = {
            "name": source, "data_root": root, "methods": methods.split(",") if methods else (), "edition": edition,
            "faces": faces, "world": world, "preset": preset, "strict": strict, "allow_missing": allow_missing,
        }  # fmt: skip
        return command(given, **more)

    for option in (
        click.option(
            "--strict",
            is_flag=True,
            help="What is warned of (counts, names, links, contents), and broken files, are errors.",
        ),
        click.option(
            "--allow-missing", is_flag=True, help="Go without listed videos that are not there (ffpp, cdf2), counted."
        ),
        click.option("--preset", default="laptop", show_default=True, help="Size of a stand-in: smoke, laptop, paper."),
        click.option("--world", default=0, help="A stand-in of other people, forgeries and cameras; any number."),
        click.option("--faces", help="Make the stand-in from a folder of portraits, or from 'london' (fetched once)."),
        click.option("--edition", default="auto", show_default=True, help="auto, licensed or stand-in."),
        click.option("--methods", help="Forgery methods of ffpp, such as Deepfakes,FaceShifter; its four by default."),
        click.option("--root", type=_Path(), help="Folder of the data set, as its authors ship it."),
        click.argument("source"),
        _plugin,
    ):
        told = option(told)
    return told


def _table_options(command: Callable) -> Callable:
    """Add EXPERIMENTS and the options of their data; the command gets them as `given`, for `did.paper.plan.plan`."""

    @functools.wraps(command)
    def told(
        experiments: tuple[str, ...], preset: str, edition: str, faces: str | None, world: int, root: Path | None,
        **more: Any,
    ) -> Any:  # fmt: skip
        data_root = None if root is None else str(root)
        given = {"names": experiments, "preset": preset, "edition": edition, "faces": faces, "world": world,
                 "data_root": data_root}  # fmt: skip
        return command(given, **more)

    for option in (
        click.option("--root", type=_Path(), help="Folder that contains ffpp/, cdf2/, dffd/ and diff/."),
        click.option("--world", default=0, help="Stand-ins of other people, forgeries and cameras; any number."),
        click.option("--faces", help="Make the stand-ins from a folder of portraits, or from 'london'."),
        click.option("--edition", default="auto", show_default=True, help="auto, licensed or stand-in."),
        click.option("--preset", default="laptop", show_default=True, help="smoke, laptop or paper."),
        click.argument("experiments", nargs=-1, required=True),
        _plugin,
    ):
        told = option(told)
    return told


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print each warning as one line without a place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: click.echo(f"Warning: {message}", err=True)
        yield


def _show(frame: Any) -> None:
    click.echo(frame.to_string() if len(frame) else "none")


def _show_left_out(source: Any) -> None:
    from did.data.layout import UNREADABLE_SUFFIXES
    from did.data.video import CONVERT

    for suffix, number in source.left_out.items():
        click.echo(f"left out: {number} × {suffix}" + (f" ({CONVERT})" if suffix in UNREADABLE_SUFFIXES else ""))


def _show_missing(source: Any) -> None:
    if missing := source.counts.get("missing"):
        click.echo(f"missing, and let pass: {missing} of the videos that the lists name")


@main.command()
@_source_options
@click.option("--frames", default=32, show_default=True, help="Evenly spaced frames of a video.")
@click.option("--size", default=224, show_default=True, help="Side of the crops in pixels.")
@click.option("--margin", default=0.3, show_default=True, help="Rim: the crop is 1 + margin times as high as the face.")
@click.option("--face", help="Face of a frame: largest (the default), or track, the last frame's nearest.")
@click.option("--split", help="One split alone, as `did test` needs of another data set: train, val or test.")
@click.option("--workers", type=int, help="Processes; by default one a core.")
@click.option(
    "--cluster", help="A Dask scheduler, tcp://host:port, in place of processes here; needs crossdf[cluster]."
)
@click.option("--store", type=_Path(), help="Folder for the crops; by default in data/faces.")
def prepare(
    given: dict[str, Any],
    frames: int,
    size: int,
    margin: float,
    face: str | None,
    split: str | None,
    workers: int | None,
    cluster: str | None,
    store: Path | None,
) -> None:
    """Cut aligned face crops out of SOURCE.

    SOURCE is ffpp, cdf2, dffd or diff (ffpp:raw and ffpp:c40 for other compressions), folder:PATH for your own folder
    with real/ and fake/<method>/, or deepfakebench:ROOT/NAME for a data set of DeepfakeBench's release. Without the
    licensed data a stand-in is written and prepared. Interrupted, the command goes on where it stopped.
    """
    from did.data.prepare import prepare as prepare_faces
    from did.sources import face_of, open_source, store_folder
    from did.utils.files import writable

    if store and not (store / "store.json").is_file():
        writable(store.parent)
    with _plain_warnings():
        opened = open_source(**given)
        click.echo(opened.banner)
        opened = opened if split is None else opened.part(split)
        face = face_of(opened, face)
        place = store or store_folder(opened, frames, size, margin, face)
        done = prepare_faces(
            opened.index,
            opened.root,
            place,
            frames,
            size,
            margin,
            workers,
            strict=given["strict"],
            face=face,
            cluster=cluster,
        )
    _show(done.summary)
    _show_missing(opened)
    reasons = done.quarantine["reason"].value_counts()
    for reason, number in reasons.items():
        click.echo(f"set aside: {number} × {reason}")
    _show_left_out(opened)
    for path, note in done.info["notes"].items():
        click.echo(f"read: {path}: {note}")
    click.echo(
        f"The crops are in {place}" + (f", what gave none in {place / 'quarantine.csv'}" if len(reasons) else "")
    )


@main.command()
@_source_options
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Any setting, as in --set alpha=1.0.")
@click.option("--task", default="did", show_default=True, help="did, a rival (bce, f3net), or one of a plugin.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="An option of the task's own.")
@click.option("--seed", type=int, help="Seed of weights, batches and marginals.")
@click.option("--init", "begin", metavar="RUN", help="Begin with the weights of this finished run.")
@click.option("--extend", metavar="RUN", help="Continue this run, trained with --checkpoints, to more iterations.")
@click.option("--checkpoints", is_flag=True, help="Keep the weights of every validation, and the last state.")
@click.option("--log", type=click.Choice(["tensorboard"]), help="Show the training: `tensorboard --logdir runs`.")
@click.option("--devices", type=click.IntRange(1), help="Processes on each host, one a device; 1 by default.")
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="Hosts.")
@click.option("--accelerator", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
def train(
    given: dict[str, Any],
    changes: tuple[str, ...],
    task: str,
    options: tuple[str, ...],
    seed: int | None,
    begin: str | None,
    extend: str | None,
    checkpoints: bool,
    log: str | None,
    devices: int | None,
    nodes: int,
    accelerator: str,
) -> None:
    """Train and test on SOURCE, as notebooks/train.ipynb does.

    Cached: the same inputs return the finished run. A killed training resumes from its checkpoint.

    SOURCE is as for `did prepare`. Interrupted, the command goes on where it stopped. With several devices or hosts
    each batch is shared, and the result is that of one device up to rounding; `fabric run --devices 2 ... "$(which
    did)" train SOURCE` starts the processes too.
    """
    from did.paper.parameters import train_settings
    from did.settings import Settings, assigned
    from did.sources import face_store, open_source
    from did.task import options_of, task_named
    from did.training.runs import find_run, run
    from did.training.watching import check_log
    from did.utils import distributed
    from did.utils.files import home, writable

    own = assigned(options)
    options_of(task_named(task), own)  # before any work
    check_log(log)
    init, longer = (None if name is None else find_run(name) for name in (begin, extend))
    writable(home() / "runs")
    chosen = train_settings(given["preset"], seed=seed, options=Settings.parse(changes), source=given["name"])
    with _plain_warnings():
        # Before the processes are there: the others find what the first has made, or wait for its locks.
        opened = open_source(**given)
        store = face_store(opened, chosen)
        fabric = distributed.launch(devices, nodes, accelerator)
        if fabric.is_global_zero:
            click.echo(opened.banner)
        done = run(opened, chosen, task, options=own, store=store, fabric=fabric, init=init, extend=longer,
                   checkpoints=checkpoints, log=log)  # fmt: skip
    if fabric.is_global_zero:
        click.echo(done.record["protocol"])
        click.echo(done.metrics.round(3).to_string(index=False))
        click.echo(f"run {done.folder.name} in {done.folder}")


@main.command("test")
@_source_options
@click.option("--run", "name", required=True, help="A finished run: the first digits of its name are enough.")
def test_command(given: dict[str, Any], name: str) -> None:
    """Test a finished run on the test split of SOURCE, which it need not have been trained on.

    Cached: the same run and data return the finished evaluation. Nothing is chosen on SOURCE.
    """
    from did.sources import open_source
    from did.training.runs import evaluate, find_run

    run = find_run(name)
    with _plain_warnings():
        opened = open_source(**given)
        done = evaluate(run, opened)
    click.echo(opened.banner)
    click.echo(done.record["protocol"])
    click.echo(done.metrics.round(3).to_string(index=False))
    click.echo(f"the scores are in {done.folder / 'scores.csv'}")


@main.command("compare")
@click.argument("a")
@click.argument("b")
@click.option("--csv", "file", type=_Path(), help="Write the table here too.")
def compare_command(a: str, b: str, file: Path | None) -> None:
    """Compare detectors A and B on the same frames: AUC of each, their difference, its interval and p value.

    Each is a run (the first digits of its name), the folder of an evaluation, or a CSV file of anybody's scores with
    the columns video (or path), label and score, and, if known, frame, method and identity. Several runs that differ
    in their seed are joined by commas: 1b2c,77ab. Joined by +, as in 1b2c+mine.csv, they are one detector whose score
    is the mean of theirs.
    """
    from did import evaluation
    from did.utils.files import writable_file, write_atomically

    if file is not None:
        writable_file(file)
    sides = [[_scores(part) for part in side.split(",")] for side in (a, b)]
    names = (a, b) if a != b else ("a", "b")
    one, other = ([table for table, _ in side] for side in sides)
    table = evaluation.compare(one, other, names)
    for note in dict.fromkeys(note for side in sides for _, notes in side for note in notes):
        click.echo(note)
    click.echo(table.round(3).to_string(index=False))
    click.echo(evaluation.in_a_sentence(table, names))
    if file is not None:
        write_atomically(file, lambda path: table.to_csv(path, index=False))


def _scores(name: str) -> tuple[Any, list[str]]:
    """Return the scores of a run, an evaluation, a file or an ensemble of them, and what was assumed of them."""
    from did import evaluation
    from did.training.runs import Evaluation, find_run

    place = Path(name)
    if "+" in name and not place.exists():
        tables, notes = zip(*map(_scores, name.split("+")), strict=True)
        return evaluation.ensemble(tables), [note for of in notes for note in of]
    if place.is_file():
        return evaluation.read_scores(place)
    folder = place if (place / "scores.csv").is_file() else find_run(name).folder
    return Evaluation(folder).scores, []


@main.command()
@_plugin
@click.argument("inputs", nargs=-1, required=True, type=_Path())
@click.option(
    "--run", "--detector", "detector", required=True, help="A run's folder or first digits, or an exported folder."
)
@click.option(
    "--frames", type=click.IntRange(0), help="Evenly spaced frames of a video, 0 for all; by default the run's."
)
@click.option("--all-faces", is_flag=True, help="Every face, not the largest alone; slower.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines: an object an input, with every frame and face.")
@click.option("--overlay", type=_Path(), help="Folder for pictures and videos with box, score, M_df.")
@click.option("--html", "html_file", type=_Path(), help="Write one self-contained page.")
@click.option("--csv", "csv_file", type=_Path(), help="Write a table with one row per face and frame.")
@click.option("--seconds", default=120.0, show_default=True, help="That decoding may take for a frame.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def predict(
    inputs: tuple[Path, ...],
    detector: str,
    frames: int | None,
    all_faces: bool,
    as_json: bool,
    overlay: Path | None,
    html_file: Path | None,
    csv_file: Path | None,
    seconds: float,
    quiet: bool,
) -> None:
    """Score the faces in INPUTS: pictures, videos, and folders of them.

    First comes what the detector was trained on, then a line for each input: label, probability at a prior of one
    half, score, and how many faces or frames it is from. A video's score is the mean over its frames. With --json the
    lines on standard output are JSON, and the rest is on standard error. With --csv each face of each frame is a row;
    with a column `label` of what is true (0 real, 1 fake) added, `did compare` takes the table.

    In folders the suffix says what is a picture or a video; the other files are counted at the end. Of an animation the
    first picture counts, and of several videos in a file the best; the line says so.

    An input that cannot be read is a line with its reason, and the next one follows. "no face" is an answer. A drawing
    or a page that cannot be written costs no answer, and is told at the end. Exit status: 0 if at least one input could
    be read and all was written that was asked for, 1 if not or if the detector cannot be loaded, 2 for a wrong option.

    A score is evidence at best, never proof about a person.
    """
    from tqdm import tqdm

    from did.predict import Detector, report
    from did.predict import inputs as given
    from did.utils.files import regardless, writable, writable_file

    if overlay:
        writable(overlay)
    for file in filter(None, (html_file, csv_file)):
        writable_file(file)
    loaded = Detector.load(detector)
    loaded.check_faces(all_faces)
    loaded.reader.seconds = seconds
    for text in report.about(loaded):
        click.echo(text, err=as_json)
    if not as_json:
        click.echo(f"\n{report.HEAD}")
    left: Counter[str] = Counter()
    files = list(given.files(inputs, left))
    bar = tqdm(total=len(files), unit=" inputs", desc="predict", disable=quiet or None)  # None: only at a terminal
    counts: dict[str, int] = {}
    written: list[Path] = []
    failed: list[str] = []
    faces: list[dict[str, Any]] = []

    def shown() -> Iterator[Any]:
        for one in given.judge(loaded, files, frames, all_faces, overlay, 120 if html_file else 0):
            counts[one.answer.status] = counts.get(one.answer.status, 0) + 1
            with bar.external_write_mode():
                click.echo(report.as_json(one.answer) if as_json else report.line(one.answer))
            bar.update()
            if csv_file:
                faces.extend(report.rows(one.answer))
            if overlay and one.overlay and overlay not in written:
                written.append(overlay)
            if one.undrawn:
                failed.append(f"{report.plain(one.answer.input)} is not drawn: {report.plain(one.undrawn)}")
            yield one

    with bar, loaded.reader:
        if not html_file:
            for _ in shown():
                pass
        elif reason := regardless(shown(), lambda judged: report.write_html(html_file, loaded, judged, left)):
            failed.append(f"{report.plain(str(html_file))} is not written: {report.plain(reason)}")
        else:
            written.append(html_file)
    if csv_file:
        if reason := regardless([], lambda _: report.write_csv(csv_file, faces)):
            failed.append(f"{report.plain(str(csv_file))} is not written: {report.plain(reason)}")
        else:
            written.append(csv_file)
    click.echo(report.summary(counts, left), err=True)
    for place in written:
        click.echo(f"Written: {report.plain(str(place))}", err=True)
    for sentence in failed[:FAILURES_SHOWN]:
        click.echo(f"Error: {sentence}", err=True)
    if more := len(failed[FAILURES_SHOWN:]):
        click.echo(f"Error: {more} more are not drawn or written.", err=True)
    if failed or set(counts) <= {"refused"}:
        raise SystemExit(1)


@main.command()
@_plugin
@click.argument("run")
@click.argument("folder", type=_Path())
@click.option("--onnx", is_flag=True, help="Write detector.onnx too; needs crossdf[onnx].")
def export(run: str, folder: Path, onnx: bool) -> None:
    """Write the detector of RUN into FOLDER: the weights of the test phase, and a card that describes it.

    `did predict --detector FOLDER` and `did.predict.Detector.load(FOLDER)` take it. RUN is a run's folder or the first
    digits of its name.
    """
    from did.predict import Detector
    from did.predict import export as export_detector
    from did.utils.files import writable

    writable(folder)
    place = export_detector(Detector.load(run), folder, onnx)
    for file in sorted(place.iterdir()):
        click.echo(f"{file.stat().st_size:>12,} {file}")


@main.command()
@_plugin
@click.argument("run")
@click.argument("repo")
@click.option("--licence", required=True, help="Terms of the weights, such as mit or 'FaceForensics terms of use'.")
@click.option("--private", is_flag=True, help="Show a new repository to its owner alone.")
@click.option("--onnx", is_flag=True, help="Share detector.onnx too; needs crossdf[onnx].")
def push(run: str, repo: str, licence: str, private: bool, onnx: bool) -> None:
    """Share the detector of RUN on the Hugging Face Hub as REPO, which is OWNER/NAME.

    With it goes a page that says what it was trained on, how well it does and what it must not be used for, and the
    backbone's weights for timm. RUN is as for `did predict`. Log in first, with `hf auth login`.

    The licence is yours to name: the terms of the training data bound those of the weights, or forbid to share them.
    """
    from did.predict import Detector, hub

    click.echo(f"Written: {hub.push(Detector.load(run), repo, licence, private, onnx)}")


@main.command()
@_plugin
@click.argument("repo")
@click.argument("folder", type=_Path())
@click.option("--revision", help="A commit, branch or tag; the newest by default.")
def pull(repo: str, folder: Path, revision: str | None) -> None:
    """Download the detector REPO, which is OWNER/NAME, from the Hugging Face Hub into FOLDER.

    `did predict --detector FOLDER` takes it.
    """
    from did.predict import hub, report
    from did.utils.files import writable

    writable(folder)
    for text in report.about(hub.pull(repo, folder, revision)):
        click.echo(text)


@data.command()
@_source_options
def check(given: dict[str, Any]) -> None:
    """Check the table of SOURCE: labels, splits, people, files.

    The exit status is 1 if a check fails.
    """
    from did.data import table
    from did.sources import open_source

    with _plain_warnings():
        opened = open_source(**given)
    click.echo(f"{opened.banner}\n\nVideos or images")
    _show(table.counts(opened.index))
    _show_left_out(opened)
    _show_missing(opened)
    click.echo("\nChecks")
    report = table.report(opened.index, opened.root, progress=True)
    _show(report.set_index("check"))
    if (report["result"] != "ok").any():
        raise SystemExit(1)


@main.group()
def runs() -> None:
    """List, show or remove the finished runs in runs/."""


@runs.command("train")
@_table_options
@click.option("--seeds", help="Such as 0,1,2; by default those of each experiment.")
@click.option(
    "--jobs", default="auto", show_default=True, help="Runs at a time: a number, or auto for the cores or GPUs."
)
@click.option("--cluster", help="A Dask scheduler, tcp://host:port, whose workers train; needs crossdf[cluster].")
@click.option("--slice", "share", help="Only a part of the plan, such as 3/16, for a batch system's array.")
@click.option("--kept", is_flag=True, help="Leave out the runs that results/runs/ keeps already.")
@click.option("--dry", is_flag=True, help="Print the plan and train nothing.")
def train_plan(
    given: dict[str, Any],
    seeds: str | None,
    jobs: str,
    cluster: str | None,
    share: str | None,
    kept: bool,
    dry: bool,
) -> None:
    """Train every run that the tables EXPERIMENTS need, once each, several at a time.

    Cached: finished runs are skipped. Interrupted and called again, it resumes. Afterwards the tables' notebooks only
    read the runs.
    """
    from did.paper import plan as of

    if jobs != "auto" and not (jobs.isdecimal() and int(jobs) > 0):
        raise DidError(f"--jobs takes a number from 1 up, or auto, not {jobs!r}")
    if cluster and jobs != "auto":
        raise DidError("--cluster takes as many runs at a time as its workers have threads: leave out --jobs")
    whole = of.plan(seeds=seeds, **given)
    whole = [job for job in whole if not (kept and job.kept())]
    mine = of.part(whole, share) if share else whole
    if dry:
        for job in mine:
            options = "".join(f" {name}={value}" for name, value in job.options)
            click.echo(
                f"{job.task}{options} on {job.settings.source}, {job.settings.backbone}, seed {job.settings.seed}"
            )
    else:
        of.train(mine, None if jobs == "auto" else int(jobs), cluster=cluster)
    click.echo(f"{len(mine)} of {len(whole)} runs" + (" planned" if dry else " finished"))


@runs.command("list")
def list_command() -> None:
    """List the runs, one per line, the oldest first."""
    from did.training.runs import list_runs

    _show(list_runs().round(3))


@runs.command()
@_plugin
@click.argument("run")
def show(run: str) -> None:
    """Print the record of RUN: settings, data, protocol, metrics, provenance.

    The first digits of its name are enough.
    """
    from did.training.runs import find_run

    click.echo(json.dumps(find_run(run).record, indent=1))


@runs.command("keep")
@_table_options
@click.option("--into", type=_Path(), help="Folder; by default results/runs/ of the project.")
def keep_command(given: dict[str, Any], into: Path | None) -> None:
    """Keep the finished runs of EXPERIMENTS without their weights: records, histories and scores, some 46 kB each.

    Their tables can then be made again from the scores alone, with other intervals or further rows.
    """
    from tqdm import tqdm

    from did.paper import plan
    from did.paper.kept import RUNS, keep
    from did.paper.records import folder

    jobs = plan.plan(**given)
    place = into or folder() / RUNS
    bar = tqdm(jobs, desc="keep", unit="run", disable=None)  # None: only at a terminal
    kept = [keep(run, place) for job in bar if (run := job.finished()) is not None]
    click.echo(f"{len(kept)} of {len(jobs)} runs are in {place}")


@runs.command("replay")
@_table_options
@click.option("--kept", is_flag=True, help="The runs that results/runs/ keeps: their training alone, without weights.")
def replay_command(given: dict[str, Any], kept: bool) -> None:
    """Try whether today's code still gives the numbers of the finished runs of EXPERIMENTS, one run a row.

    Their first iterations are trained and some faces scored anew. A run that passes is marked with today's code, which
    the next record of its table then names.
    """
    from did.paper import plan
    from did.paper.replay import OtherCropsError, replay

    jobs = plan.firsts(plan.plan(**given))
    missing = elsewhere = 0
    for job in jobs:
        run = job.kept() if kept else job.finished()
        if run is None:
            missing += 1
            continue
        try:
            worst = replay(run, job.source(job.settings.source), progress=False)
        except OtherCropsError:
            elsewhere += 1
        else:
            click.echo(f"{run.folder.name} {job.task}: the same, to {worst:.1g}")
    if elsewhere:
        click.echo(
            f"{elsewhere} of {len(jobs)} were trained on another machine's crops, and can only be replayed there"
        )
    if missing:
        click.echo(f"{missing} of {len(jobs)} are not trained: `did runs train {' '.join(given['names'])}` makes them")


@runs.command()
@click.argument("run")
@click.confirmation_option(prompt="Remove the run, its weights and its scores?")
def rm(run: str) -> None:
    """Remove RUN; the next call with the same inputs trains it again."""
    from did.training.runs import find_run, remove_run
    from did.utils.files import writable

    writable(find_run(run).folder, "make it writable, or keep the run")
    click.echo(f"Removed {remove_run(run)}")


@main.command()
@_plugin
@click.option("--experiment", help="Only this one, such as table1_intra_cross.")
@click.option("--csv", "csv_file", type=_Path(), help="Write all rows to this file instead.")
@click.option(
    "--wall", nargs=3, type=(float, str, int), help="Note what `make results` took: SECONDS PRESET NOTEBOOKS."
)
def ledger(experiment: str | None, csv_file: Path | None, wall: tuple[float, str, int] | None) -> None:
    """Print every finished table and figure in results/: the paper's numbers against ours.

    Rows from stand-ins say STAND-IN: they reproduce no number of the paper.
    """
    from did.paper import records, tables
    from did.utils.files import writable_file, write_atomically

    if csv_file:
        writable_file(csv_file)
    if wall:
        click.echo(f"Noted in {records.note_wall(*wall)}")
    entries = records.load()
    if experiment:
        names = [entry["experiment"] for entry in entries]
        if experiment not in names:
            raise DidError(f"no record of '{experiment}': {nearest(experiment, set(names))}")
        entries = [entry for entry in entries if entry["experiment"] == experiment]
    if csv_file:
        rows = records.table(entries)
        write_atomically(csv_file, lambda path: rows.to_csv(path, index=False))
        click.echo(f"The rows are in {csv_file}")
        return
    click.echo("\n\n".join(tables.shown(entry) for entry in entries))
    click.echo("\nMinutes")
    _show(records.timings(entries).round(1))


@main.command()
@click.argument("experiment")
@click.option("--preset", default="laptop", show_default=True, help="Preset of the record.")
@click.option("--people", type=click.IntRange(2), help="Number of test people, instead of the record's.")
@click.option("--seeds", type=click.IntRange(1), help="Number of seeds, instead of the record's.")
def power(experiment: str, preset: str, people: int | None, seeds: int | None) -> None:
    """Print the smallest difference that the table EXPERIMENT could have told, for other numbers of people or seeds.

    The variances over people and seeds are those of its record in results/.
    """
    from did.paper import power as of
    from did.paper.conduct import experiment as known
    from did.paper.records import kind, load, nearest

    known(experiment)
    records = [each for each in load(nearest()) if each["experiment"] == experiment and each["preset"] == preset]
    if not records:
        raise DidError(f"there is no record of {experiment} at preset {preset}: make it with its notebook")
    for entry in records:
        click.echo(f"{entry['title']}   [{kind(entry)}, preset {preset}]")
        click.echo(of.table(entry, people, seeds).to_string(index=False, float_format="%.3f", na_rep="-"))


@main.command()
@_plugin
@click.argument("experiment")
@click.option("--worlds", "which", default="1-10", show_default=True, help="Which worlds, such as 1-10 or 1,3,8.")
@click.option("--preset", default="laptop", show_default=True, help="smoke, laptop or paper.")
@click.option("--seeds", help="Such as 0,1,2; by default those of the experiment.")
@click.option("--rows", help="Only these rows of it, separated by commas.")
@click.option("--faces", help="Make the stand-ins from a folder of portraits, or from 'london'.")
def worlds(experiment: str, which: str, preset: str, seeds: str | None, rows: str | None, faces: str | None) -> None:
    """Run EXPERIMENT in several worlds (other people, forgeries and cameras) and print its differences over them.

    Each world gets a record of its own in results/. Cached: finished runs are skipped; interrupted, it resumes.
    """
    from did.paper.conduct import conduct, seed_list
    from did.paper.conduct import experiment as known
    from did.paper.worlds import numbers, over_worlds

    chosen, of = numbers(which), known(experiment)
    seed_list(seeds, of.seeds)
    only = [name.strip() for name in rows.split(",")] if rows else None
    entries = []
    for number in chosen:
        click.echo(f"world {number}", err=True)
        entries.append(conduct(experiment, preset, "stand-in", faces, seeds=seeds, rows=only, world=number).record)
    click.echo(
        f"{of.title}: differences over {len(chosen)} worlds, 95% intervals over worlds; stand-ins, preset {preset}"
    )
    _show(over_worlds(entries).round(3))


if __name__ == "__main__":
    main()
