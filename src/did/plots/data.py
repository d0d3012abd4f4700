"""What is in a data set: crops side by side, and their spectra."""

import io

import numpy as np
import pandas as pd
from PIL import Image

from did.data.loading import Faces, domain_names
from did.data.store import PLACE, Crops, FaceStore
from did.data.table import REAL
from did.evaluation.leaks import radial_spectrum
from did.plots.base import Plot, canvas, colours, entry, put_stamp


def contact_sheet(store: FaceStore, stamp: str, people: int = 6, split: str = "train") -> Plot:
    """Draw one crop per person and method: rows are real and each forgery method, columns the same people.

    Where a method names none of them, as in sets of single images, its row shows people of its own.
    """
    rows = store.manifest
    rows = rows[rows.split == split]
    methods = domain_names(rows)
    rows = rows.assign(person=rows.identity.str.split("+").str[0])
    real, forged = (set(rows.person[(rows.method == REAL) == is_real]) for is_real in (True, False))
    targets = sorted(real & forged or real)[:people]
    figure, axes = canvas(1.35 * len(targets) + 0.9, 1.4 * len(methods), len(methods), len(targets))
    shown = []
    for i, method in enumerate(methods):
        part = rows[rows.method == method]
        shared = [person for person in targets if person in set(part.person)]
        columns = targets if shared else list(dict.fromkeys(part.person))[: len(targets)]
        for j in range(len(targets)):
            axis = axes[i, j]
            axis.set(xticks=[], yticks=[])
            crops = part[part.person == columns[j]] if j < len(columns) else part[:0]
            if len(crops):
                middle = crops.iloc[[len(crops) // 2]]
                axis.imshow(np.asarray(Image.open(io.BytesIO(Crops(store.root, middle).read(0)))))
                shown.append(middle.drop(columns=list(PLACE), errors="ignore"))
            if j == 0:
                axis.set_ylabel(method if method == REAL else f"fake\n{method}", fontsize=9)
            if i == 0 and real & forged:
                axis.set_title(f"person {targets[j]}", fontsize=8)
    put_stamp(figure, stamp)
    data = pd.concat(shown, ignore_index=True)
    who = f"{len(targets)} people" if real & forged else "people who differ from row to row"
    alt = f"Contact sheet of {len(data)} aligned face crops of {who}: rows {', '.join(methods)}."
    return Plot(figure, data, alt)


def mean_spectra(store: FaceStore, stamp: str, size: int = 112, crops: int = 300) -> Plot:
    """Draw radial power spectra of gray crops: the mean of the real ones, and each method's distance from it.

    At most `crops` crops a method, one a video as far as there are, are brought to `size` pixels. The bands are 95%
    intervals of the difference of two means (normal approximation over videos).
    """
    rows = store.manifest
    methods = domain_names(rows)
    means = {}
    for method in methods:
        part = rows[rows.method == method]
        part = part.iloc[np.argsort(part.groupby("video").cumcount(), kind="stable")[:crops]]
        faces = Faces(part, store.root, size, domains=methods)
        spectra = radial_spectrum(np.stack([faces[k]["image"][0].numpy() for k in range(len(faces))]))
        # One spectrum a video: its frames are not independent.
        means[method] = 10 / np.log(10) * pd.DataFrame(spectra).groupby(part.video.to_numpy()).mean()
    cycles = np.arange(size // 2)
    table = []
    for method in methods:
        mean, error = means[method].mean(), means[method].sem().fillna(0)
        half = 1.96 * np.hypot(error, means[REAL].sem().fillna(0)) if method != REAL else 1.96 * error
        table.append(
            pd.DataFrame(
                {
                    "method": method,
                    "cycles": cycles,
                    "power": mean,
                    "difference": mean - means[REAL].mean(),
                    "half": half,
                }
            )
        )
    data = pd.concat(table, ignore_index=True)
    figure, axes = canvas(11, 3.6, 1, 2)
    left, right = axes.ravel()
    for method, colour in colours(methods).items():
        part = data[(data.method == method) & (data.cycles > 0)]
        left.plot(part.cycles, part.power, color=colour, label=entry(method))
        if method != REAL:
            right.plot(part.cycles, part.difference, color=colour, label=entry(method))
            right.fill_between(
                part.cycles, part.difference - part.half, part.difference + part.half, color=colour, alpha=0.15, lw=0
            )
    right.axhline(0, color="black", lw=0.8)
    left.set(xscale="log", xlabel="cycles a crop", ylabel="mean power, dB")
    right.set(xlabel="cycles a crop", ylabel="difference from real, dB")
    right.legend(fontsize=8)
    put_stamp(figure, stamp)
    far = data[data.cycles > 0].groupby("method").difference.agg(lambda d: d[d.abs().idxmax()])
    alt = "Mean radial power spectra of the crops; largest difference from real: " + ", ".join(
        f"{method} {far[method]:.3f} dB" for method in methods[1:]
    )
    return Plot(figure, data, alt + ".")
