"""`did`: the command line, thin over the package::

    did prepare ffpp --root /path/to/FaceForensics++
    did data check ffpp --root /path/to/FaceForensics++

`did --help` lists everything. What the user can mend is one sentence on standard error, with exit status 1.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

import did

# What a command needs from did is imported when it runs: torch takes seconds, and `--help` must not.


class _Commands(click.Group):
    """Shows a DidError as its sentence, without a stack."""

    def invoke(self, ctx: click.Context) -> Any:
        from did.errors import DidError

        try:
            return super().invoke(ctx)
        except DidError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(did.__version__)
def main() -> None:
    """An executable companion to CrossDF: data, training and results.

    \b
    In any folder: data, export, ledger, predict, prepare, runs, train.
    In a checkout of the project only: book.

    What is made is kept in data/, runs/ and results/ of the folder that DID_HOME names, else of the checkout around the
    working folder, else of the working folder.
    """


@main.group()
def data() -> None:
    """Look at a data set."""


def _source_options(command: Callable) -> Callable:
    """SOURCE and the options that say where it is."""
    for option in (
        click.option(
            "--strict", is_flag=True, help="Counts other than the published ones, and broken files, are errors."
        ),
        click.option("--preset", default="laptop", show_default=True, help="Size of a stand-in: smoke, laptop, paper."),
        click.option("--faces", help="Make the stand-in from a folder of portraits, or from 'london' (fetched once)."),
        click.option("--edition", default="auto", show_default=True, help="auto, licensed or stand-in."),
        click.option("--root", type=click.Path(path_type=Path), help="Folder of the data set, as its authors ship it."),
        click.argument("source"),
    ):
        command = option(command)
    return command


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """A warning is one line without a place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: click.echo(f"Warning: {message}", err=True)
        yield


def _show(frame: Any) -> None:
    click.echo(frame.to_string() if len(frame) else "none")


@main.command()
@_source_options
@click.option("--frames", default=32, show_default=True, help="Evenly spaced frames of a video.")
@click.option("--size", default=224, show_default=True, help="Side of the crops in pixels.")
@click.option("--margin", default=0.3, show_default=True, help="Rim: the crop is 1 + margin times as high as the face.")
@click.option(
    "--face", default="largest", show_default=True, help="Face of a frame: largest, or track, the last frame's nearest."
)
@click.option("--workers", type=int, help="Processes; by default one a core.")
@click.option("--cluster", help="A Dask scheduler, tcp://host:port, in place of processes here; needs did[cluster].")
@click.option("--store", type=click.Path(path_type=Path), help="Folder for the crops; by default in data/faces.")
def prepare(
    source: str,
    root: Path | None,
    edition: str,
    faces: str | None,
    preset: str,
    strict: bool,
    frames: int,
    size: int,
    margin: float,
    face: str,
    workers: int | None,
    cluster: str | None,
    store: Path | None,
) -> None:
    """Cut aligned face crops out of SOURCE.

    SOURCE is ffpp, cdf2, dffd or diff (ffpp:raw and ffpp:c40 for other compressions), or folder:PATH for your own
    folder with real/ and fake/<method>/. Without the licensed data a stand-in is written and prepared. Interrupted,
    the command goes on where it stopped.
    """
    from did.data.prepare import prepare as prepare_faces
    from did.data.sources import open_source, store_folder

    with _plain_warnings():
        opened = open_source(source, edition, root, faces, preset, strict=strict)
        click.echo(opened.banner)
        place = store or store_folder(opened, frames, size, margin, face)
        done = prepare_faces(
            opened.index, opened.root, place, frames, size, margin, workers, strict=strict, face=face, cluster=cluster
        )
    _show(done.summary)
    reasons = done.quarantine["reason"].value_counts()
    for reason, number in reasons.items():
        click.echo(f"set aside: {number} × {reason}")
    click.echo(
        f"The crops are in {place}" + (f", what gave none in {place / 'quarantine.csv'}" if len(reasons) else "")
    )


@main.command()
@_source_options
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Any setting, as in --set alpha=1.0.")
@click.option("--task", default="did", show_default=True, help="did, or a rival: bce, f3net.")
@click.option("--seed", type=int, help="Seed of weights, batches and marginals.")
@click.option("--devices", type=click.IntRange(1), help="Processes on each host, one a device; 1 by default.")
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="Hosts.")
@click.option("--accelerator", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
def train(
    source: str,
    root: Path | None,
    edition: str,
    faces: str | None,
    preset: str,
    strict: bool,
    changes: tuple[str, ...],
    task: str,
    seed: int | None,
    devices: int | None,
    nodes: int,
    accelerator: str,
) -> None:
    """Train and test on SOURCE, as notebooks/train.ipynb does, or return the run that did so before.

    SOURCE is as for `did prepare`. Interrupted, the command goes on where it stopped. With several devices or hosts
    each batch is shared, and the result is that of one device up to rounding; `fabric run --devices 2 ... "$(which
    did)" train SOURCE` starts the processes too.
    """
    from did import distributed
    from did.data.sources import face_store, open_source
    from did.experiments import train_settings
    from did.results import check_task, run
    from did.settings import Settings

    check_task(task)  # before any work
    chosen = train_settings(preset, seed=seed, options=Settings.parse(changes), source=source)
    with _plain_warnings():
        # Before the processes are there: the others find what the first has made, or wait for its locks.
        opened = open_source(source, edition, root, faces, preset, strict=strict)
        store = face_store(opened, chosen)
        fabric = distributed.launch(devices, nodes, accelerator)
        if fabric.is_global_zero:
            click.echo(opened.banner)
        done = run(chosen, opened, store, task, fabric=fabric)
    if fabric.is_global_zero:
        click.echo(done.record["protocol"])
        click.echo(done.metrics.round(3).to_string(index=False))
        click.echo(f"run {done.folder.name} in {done.folder}")


@main.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--run", "--detector", "detector", required=True, help="A run's folder or first digits, or an exported folder."
)
@click.option(
    "--frames", type=click.IntRange(0), help="Evenly spaced frames of a video, 0 for all; by default the run's."
)
@click.option("--all-faces", is_flag=True, help="Every face, not the largest alone; slower.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines: an object an input, with every frame and face.")
@click.option(
    "--overlay", type=click.Path(path_type=Path), help="Folder for pictures and videos with box, score, M_df."
)
@click.option("--html", "html_file", type=click.Path(path_type=Path), help="Write one self-contained page.")
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
    seconds: float,
    quiet: bool,
) -> None:
    """Score the faces in INPUTS: pictures, videos, and folders of them.

    First comes what the detector was trained on, then a line for each input: label, probability at a prior of one
    half, score, and how many faces or frames it is from. A video's score is the mean over its frames. With --json the
    lines on standard output are JSON, and the rest is on standard error.

    An input that cannot be read is a line with its reason, and the next one follows. "no face" is an answer. Exit
    status: 0 where at least one input could be read, 1 where none could or the detector cannot be loaded, 2 for a
    wrong option.

    A score is evidence at best, never proof about a person.
    """
    from tqdm import tqdm

    from did.predict import Detector, report
    from did.predict import inputs as given

    loaded = Detector.load(detector)
    loaded.reader.seconds = seconds
    for text in report.about(loaded):
        click.echo(text, err=as_json)
    if not as_json:
        click.echo(f"\n{report.HEAD}")
    files = list(given.files(inputs))
    bar = tqdm(total=len(files), unit=" inputs", desc="predict", disable=quiet or None)  # None: only at a terminal
    counts: dict[str, int] = {}

    def shown() -> Iterator[Any]:
        judged = given.judge(loaded, files, frames, all_faces, overlay, 120 if html_file else 0)
        for one in judged:
            counts[one.answer.status] = counts.get(one.answer.status, 0) + 1
            with bar.external_write_mode():
                click.echo(report.as_json(one.answer) if as_json else report.line(one.answer))
            bar.update()
            yield one

    with bar, loaded.reader:
        if html_file:
            report.write_html(html_file, loaded, shown())
        else:
            for _ in shown():
                pass
    click.echo(report.summary(counts), err=True)
    for place in (overlay, html_file):
        if place:
            click.echo(f"Written: {place}", err=True)
    if set(counts) <= {"refused"}:
        raise SystemExit(1)


@main.command()
@click.argument("run")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--onnx", is_flag=True, help="Write detector.onnx too; needs did[onnx].")
def export(run: str, folder: Path, onnx: bool) -> None:
    """Write the detector of RUN into FOLDER: weights of the test phase alone, and a card that says what it is.

    `did predict --detector FOLDER` and `did.predict.Detector.load(FOLDER)` take it. RUN is a run's folder or the first
    digits of its name.
    """
    from did.predict import Detector
    from did.predict import export as export_detector

    place = export_detector(Detector.load(run), folder, onnx)
    for file in sorted(place.iterdir()):
        click.echo(f"{file.stat().st_size:>12,} {file}")


@data.command()
@_source_options
def check(source: str, root: Path | None, edition: str, faces: str | None, preset: str, strict: bool) -> None:
    """Check the table of SOURCE: labels, splits, people, files. Exit status 1 where a check fails."""
    from did.data import table
    from did.data.sources import open_source

    with _plain_warnings():
        opened = open_source(source, edition, root, faces, preset, strict=strict)
    click.echo(f"{opened.banner}\n\nVideos or images")
    _show(table.counts(opened.index))
    click.echo("\nChecks")
    report = table.report(opened.index, opened.root, progress=True)
    _show(report.set_index("check"))
    if (report["result"] != "ok").any():
        raise SystemExit(1)


@main.group()
def runs() -> None:
    """The finished runs in runs/."""


@runs.command("list")
def list_command() -> None:
    """One line a run, the oldest first."""
    from did.results import list_runs

    _show(list_runs().round(3))


@runs.command()
@click.argument("run")
def show(run: str) -> None:
    """Print the record of RUN: settings, data, protocol, metrics, provenance. The first digits of its name do."""
    from did.results import find_run

    click.echo(json.dumps(find_run(run).record, indent=1))


@runs.command()
@click.argument("run")
@click.confirmation_option(prompt="Remove the run, its weights and its scores?")
def rm(run: str) -> None:
    """Remove RUN; asking for it again trains it anew."""
    from did.results import remove_run

    click.echo(f"Removed {remove_run(run)}")


@main.command()
@click.option("--experiment", help="Only this one, such as table1_intra_cross.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path), help="Write all rows to this file instead.")
@click.option(
    "--wall", nargs=3, type=(float, str, int), help="Note what `make results` took: SECONDS PRESET NOTEBOOKS."
)
def ledger(experiment: str | None, csv_file: Path | None, wall: tuple[float, str, int] | None) -> None:
    """Every finished table and figure in results/: the paper's numbers against ours.

    Rows from stand-ins say STAND-IN: they reproduce no number of the paper.
    """
    from did import ledger as records
    from did.errors import DidError
    from did.settings import nearest

    if wall:
        click.echo(f"Noted in {records.note_wall(*wall)}")
    entries = records.load()
    if experiment:
        names = [entry["experiment"] for entry in entries]
        if experiment not in names:
            raise DidError(f"no record of '{experiment}': {nearest(experiment, set(names))}")
        entries = [entry for entry in entries if entry["experiment"] == experiment]
    if csv_file:
        csv_file.parent.mkdir(parents=True, exist_ok=True)
        records.table(entries).to_csv(csv_file, index=False)
        click.echo(f"The rows are in {csv_file}")
        return
    click.echo("\n\n".join(records.shown(entry) for entry in entries))
    click.echo("\nMinutes")
    _show(records.timings(entries).round(1))


@main.group()
def book() -> None:
    """The book, in a checkout: execute its notebooks, build it, check it."""


@book.command()
@click.option("--preset", default="laptop", show_default=True, help="smoke, laptop or paper.")
@click.option("--source", default="ffpp", show_default=True, help="Data set of the first chapters.")
@click.option("--faces", help="Make the stand-ins from a folder of portraits, or from 'london'.")
@click.option("--committed", is_flag=True, help="From the committed notebooks, at preset smoke, executing none.")
@click.option("--student", is_flag=True, help="Without solutions.")
@click.option("--repository", default="", help="OWNER/NAME on GitHub: a button on each chapter opens it on Binder.")
def build(preset: str, source: str, faces: str | None, committed: bool, student: bool, repository: str) -> None:
    """Execute what is stale, write the pages, build them, check what was built."""
    from did.book.build import build as build_book
    from did.files import home

    given = {"preset": preset, "source": source} | ({"faces": faces} if faces else {})
    html = build_book(home(), given, committed, student, repository)
    click.echo(f"The book: {html / 'index.html'}")


@book.command()
@click.argument("file", type=click.Path(path_type=Path), default="_build/did.pdf")
def pdf(file: Path) -> None:
    """Print the built book into FILE (_build/did.pdf), with Chromium."""
    from did.book.pdf import write_pdf
    from did.files import home

    pages = write_pdf(home(), file)
    click.echo(f"{pages} pages: {file}")


@book.command()
@click.argument("notebooks", nargs=-1)
def refresh(notebooks: tuple[str, ...]) -> None:
    """Execute the committed NOTEBOOKS again (all by default), in place, at preset smoke."""
    from did.book.chapters import refresh as refresh_notebooks
    from did.files import home

    refresh_notebooks(home(), notebooks)


if __name__ == "__main__":
    main()
