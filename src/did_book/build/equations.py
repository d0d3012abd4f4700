"""Each equation of the paper, the code that is it and the tests that pin it; and what lacks, before a book is built."""

import ast
import dataclasses
import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from did_book.build.checkout import TOC, listed


@dataclasses.dataclass(frozen=True)
class Equation:
    """An equation or an algorithm of the paper, and its places in this project.

    Attributes:
        number: the paper's; "Algorithm 1" for an algorithm.
        says: it in one sentence.
        label: of the equation in its chapter, which prints it; for an algorithm, of its place there.
        chapter: the notebook, without `.ipynb`.
        code: full names of the functions, methods and classes that are it.
        tests: those that pin the code, as `tests/file.py::function`.
    """

    number: int | str
    says: str
    label: str
    chapter: str
    code: tuple[str, ...]
    tests: tuple[str, ...]

    @property
    def printed(self) -> bool:
        """Whether its chapter prints it as an equation."""
        return isinstance(self.number, int)

    @property
    def name(self) -> str:
        """The equation's name in a heading."""
        return f"Equation {self.number}" if self.printed else str(self.number)


_LIST = (
    Equation(
        1,
        "The deepfake map weights each entry of the features; what it leaves is the other part, so nothing is lost.",
        "eq-1",
        "method_1_decomposition",
        ("did.method.model.DID.forward",),
        ("tests/method/test_model.py::test_decompositions_are_complementary",),
    ),
    Equation(
        2,
        "The other part is split once more: what tells the forgery methods apart, and the rest.",
        "eq-2",
        "method_1_decomposition",
        ("did.method.model.DID.forward",),
        ("tests/method/test_model.py::test_decompositions_are_complementary",),
    ),
    Equation(
        3,
        "Mutual information is the divergence of the joint distribution from the product of the marginals. For "
        "features it cannot be computed; for Gaussians it can, and those are the measure.",
        "eq-3",
        "method_3_mutual_information",
        (
            "did_book.chapters.mutual_information.gaussian_information",
            "did_book.chapters.mutual_information.gaussian_log_ratio",
        ),
        (
            "tests/did_book/chapters/test_mutual_information.py::test_the_log_ratio_is_that_of_the_densities_and_its_mean_the_information",
        ),
    ),
    Equation(
        4,
        "A network that tells pairs of one image from pairs of two images gives an estimate of the dependence.",
        "eq-4",
        "method_3_mutual_information",
        (
            "did.method.losses.jsd_mutual_information",
            "did.method.losses.marginal_permutation",
            "did.method.model.Estimator",
        ),
        (
            "tests/method/test_losses.py::test_the_estimate_at_zero_and_its_bound",
            "tests/did_book/chapters/test_mutual_information.py::test_the_best_estimate_is_the_integral",
            "tests/method/test_losses.py::test_the_marginal_is_a_permutation_without_fixed_points",
            "tests/method/test_model.py::test_the_estimator_equals_one_that_concatenates",
        ),
    ),
    Equation(
        5,
        "The estimator raises the estimate, and the features lower it; a reversed gradient serves both at once.",
        "eq-5",
        "method_3_mutual_information",
        ("did.method.layers.gradient_reversal",),
        (
            "tests/method/test_layers.py::test_gradient_reversal_is_the_identity_forwards_and_minus_beta_backwards",
            "tests/method/test_model.py::test_the_features_descend_what_the_estimator_ascends_scaled_by_beta",
            "tests/method/test_losses.py::test_an_encoder_behind_the_gradient_reversal_gets_rid_of_dependence",
        ),
    ),
    Equation(
        6,
        "The AUC is the share of pairs of a fake and a real in which the fake scores higher.",
        "eq-6",
        "method_4_ranking",
        ("did_book.chapters.ranking.wmw", "did.evaluation.metrics.auc"),
        (
            "tests/did_book/chapters/test_ranking.py::test_wmw_is_the_auc_but_for_ties",
            "tests/evaluation/test_metrics.py::test_auc_is_the_wmw_statistic_of_eq_6",
        ),
    ),
    Equation(
        7,
        "The ranking loss is the mean over all pairs of how badly each is ordered.",
        "eq-7",
        "method_4_ranking",
        ("did.method.losses.auc_loss", "did_book.chapters.ranking.auc_loss_by_pairs"),
        (
            "tests/method/test_losses.py::test_auc_loss_equals_the_double_loop",
            "tests/did_book/chapters/test_ranking.py::test_the_loop_over_pairs_is_eq_8_by_hand",
        ),
    ),
    Equation(
        8,
        "A pair costs a power of what the fake's lead falls short of the margin, and nothing once it has the margin.",
        "eq-8",
        "method_4_ranking",
        ("did.method.losses.auc_loss", "did_book.chapters.ranking.auc_loss_by_pairs"),
        (
            "tests/method/test_losses.py::test_auc_loss_at_the_margin",
            "tests/did_book/chapters/test_ranking.py::test_the_loop_over_pairs_is_eq_8_by_hand",
        ),
    ),
    Equation(
        9,
        "The classification loss mixes binary cross-entropy with the ranking loss.",
        "eq-9",
        "method_4_ranking",
        ("did.method.losses.classification_loss",),
        ("tests/method/test_losses.py::test_classification_loss_is_eq_9",),
    ),
    Equation(
        10,
        "The domain loss is the cross-entropy of the domain: real, or the method of the forgery.",
        "eq-10",
        "method_5_together",
        ("did.method.losses.domain_loss",),
        ("tests/method/test_losses.py::test_domain_loss_is_eq_10",),
    ),
    Equation(
        11,
        "The three losses, each with its weight, make one sum.",
        "eq-11",
        "method_5_together",
        ("did.method.task.DIDTask.forward",),
        (
            "tests/method/test_task.py::test_terms_are_named_and_sum_to_the_total",
            "tests/method/test_task.py::test_gradients_of_a_step_are_those_of_eq_11_and_12",
        ),
    ),
    Equation(
        12,
        "One step moves all six modules at once, each at its own rate; the estimator climbs and the others descend.",
        "eq-12",
        "method_5_together",
        (
            "did.training.loop.train_step",
            "did.method.task.DIDTask.parameter_groups",
            "did.method.task.DIDTask.rate_factor",
            "did.method.task.adversary_scales",
            "did.method.task.beta",
        ),
        (
            "tests/method/test_task.py::test_gradients_of_a_step_are_those_of_eq_11_and_12",
            "tests/method/test_task.py::test_ten_times_the_rate_for_all_but_the_backbone",
            "tests/method/test_task.py::test_only_t_slows_down_under_eq_12",
            "tests/method/test_task.py::test_the_readings_of_section_3_3_and_eq_12",
            "tests/method/test_task.py::test_at_the_start_the_text_spares_the_features_and_eq_12_spares_t",
            "tests/method/test_task.py::test_betas_schedule",
        ),
    ),
    Equation(
        "Algorithm 1",
        "Split the features by Equation 1, then the other part by Equation 2; three parts come out.",
        "algorithm-1",
        "method_1_decomposition",
        ("did.method.model.DID.forward",),
        ("tests/method/test_model.py::test_decompositions_are_complementary",),
    ),
    Equation(
        "Algorithm 2",
        "Draw a batch, take the step of Equation 12, go on; at the end keep the modules that the test phase needs.",
        "algorithm-2",
        "method_5_together",
        ("did.training.loop.fit", "did.training.loop.train_step"),
        (
            "tests/training/test_loop.py::test_training_learns",
            "tests/training/test_loop.py::test_the_checkpoint_is_the_best_on_validation_not_the_last",
        ),
    ),
)

#: The paper's equations 1 to 12 and its two algorithms, by number.
EQUATIONS: dict[int | str, Equation] = {equation.number: equation for equation in _LIST}

#: Symbol, meaning, and the name in the code. `DID.x` is a module of the model, `Decomposed.x` one of its outputs.
SYMBOLS = (
    (r"G(\theta; \cdot)", "the backbone", "did.method.model.DID.backbone"),
    (r"A_{df}(\psi; \cdot)", "the deepfake attention network", "did.method.model.DID.deepfake_attention"),
    (r"A_{dom}(\varphi; \cdot)", "the domain attention network", "did.method.model.DID.domain_attention"),
    (r"T(\phi; \cdot)", "the estimator of mutual information", "did.method.model.DID.estimator"),
    (r"C(\omega; \cdot)", "the deepfake classifier", "did.method.model.DID.classifier"),
    (r"\bar C(\bar\omega; \cdot)", "the domain classifier", "did.method.model.DID.domain_classifier"),
    ("I_X", "the feature map", "did.method.model.Decomposed.features"),
    ("M_{df}", "the deepfake map", "did.method.model.Decomposed.deepfake_map"),
    ("I_{df}", "the deepfake information", "did.method.model.Decomposed.deepfake"),
    ("I_{os}", "everything else", "did.method.model.Decomposed.other"),
    ("M_{dom}", "the domain map", "did.method.model.Decomposed.domain_map"),
    ("I_{dom}", "the domain information", "did.method.model.Decomposed.domain"),
    ("I_{res}", "what neither classifier sees", "did.method.model.Decomposed.residual"),
    (r"\alpha", "the weight of cross-entropy against ranking", "did.settings.Settings.alpha"),
    (r"\gamma", "the margin of the ranking loss", "did.settings.Settings.auc_margin"),
    ("p", "the power of the ranking loss", "did.settings.Settings.auc_power"),
    (r"\lambda_{cls}", "the weight of the classification loss", "did.settings.Settings.lambda_cls"),
    (r"\lambda_{dom}", "the weight of the domain loss", "did.settings.Settings.lambda_dom"),
    (r"\lambda_{dec}", "the weight of the decorrelation loss", "did.settings.Settings.lambda_dec"),
    (r"\eta_\theta", "the learning rate of the backbone", "did.settings.Settings.lr"),
    (r"\beta", "the strength of the reversal", "did.method.task.beta"),
)


def anchor(test: str) -> str:
    """Return the anchor of a test in its chapter.

    `tests/method/test_losses.py::test_auc_loss` is at `test-auc-loss`.
    """
    return "test-" + test.partition("::")[2].removeprefix("test_").replace("_", "-")


def _code_anchor(code: str) -> str:
    return "code-" + re.sub(r"[._]", "-", _split(code)[1]).lower()


def _split(code: str) -> tuple[str, str]:
    """Split a dotted name into module and object; a capital letter begins a class, and so the object."""
    parts = code.split(".")
    first = next((i for i, part in enumerate(parts) if part[:1].isupper()), len(parts) - 1)
    return ".".join(parts[:first]), ".".join(parts[first:])


def _role(code: str) -> str:
    """Return the link to its entry in the reference."""
    name = _split(code)[1]
    kind = "meth" if "." in name else "class" if name[0].isupper() else "func"
    return f"{{py:{kind}}}`{code}`"


def equations_page(texts: Mapping[str, str]) -> str:
    """Return the page "The equations" as MyST text, for a place beside the chapters.

    Args:
        texts: chapter -> its prose, from which the equations are taken.
    """
    parts = [
        "# The equations\n",
        "Every equation and both algorithms of the paper: the code that is it, and the tests that fail when the code "
        "is no longer it. The numbers are the paper's. The book is not built when one of these links is missing.\n",
    ]
    for equation in EQUATIONS.values():
        place = f"{{eq}}`{equation.label}`" if equation.printed else f"[{equation.name}](#{equation.label})"
        code = ", ".join(
            f"{_role(each)} ([source of {_split(each)[1]}](#{_code_anchor(each)}))" for each in equation.code
        )
        tests = ", ".join(f"[{test.partition('::')[2]}](#{anchor(test)})" for test in equation.tests)
        parts += [
            f"## {equation.name}\n",
            *([f"$$\n{printed(texts[equation.chapter])[equation.label]}\n$$\n"] if equation.printed else []),
            f"{equation.says}\n",
            f"- Chapter: [](./{equation.chapter}) at {place}\n- Code: {code}\n- Test: {tests}\n",
        ]
    rows = [f"| ${symbol}$ | {meaning} | `{name}` |" for symbol, meaning, name in SYMBOLS]
    parts.append("\n".join(["## Symbols\n", "| symbol | what it is | in the code |", "|---|---|---|", *rows, ""]))
    return "\n".join(parts)


def printed(text: str) -> dict[str, str]:
    """Return the labelled equations that a chapter prints: label -> LaTeX."""
    return {label: latex.strip() for label, latex in _MATH.findall(text)}


def prose(notebook: Mapping[str, Any]) -> str:
    """Return the prose of a notebook."""
    cells = notebook["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def gaps(equations: Mapping[int | str, Equation], root: Path) -> list[str]:
    """List what is missing between the paper's equations and the project, one sentence each.

    An equation needs code that is there, tests that are there and always run, and a chapter that prints the equation
    under its label, shows both with a place to link to, and links to the code's entry in the reference. In the order
    of the table of contents the labels have to give the paper's numbers.

    Args:
        equations: such as `EQUATIONS`.
        root: the project; its sources, tests, notebooks and `book/_toc.yml` are read, and nothing is imported.
    """
    found = [f"equation {number}: not in the list" for number in range(1, 13) if number not in equations]
    for equation in equations.values():
        lacks = (*_code(equation, root), *_tests(equation, root), *_chapter(equation, root))
        found += [f"{equation.name[0].lower()}{equation.name[1:]}: {lack}" for lack in lacks]
    return found + _numbers(equations, root)


def _tree(file: Path) -> ast.Module:
    """Parse a file's syntax; an empty tree if it does not exist or is not Python."""
    try:
        return _parsed(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ast.parse("")


@functools.cache
def _parsed(source: str) -> ast.Module:
    return ast.parse(source)


def _defined(tree: ast.AST, name: str) -> ast.FunctionDef | ast.ClassDef | None:
    """Find a function or class by its name, a method by `Class.method`."""
    first, _, rest = name.partition(".")
    for node in getattr(tree, "body", []):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == first:
            return _defined(node, rest) if rest else node
    return None


def _module(code: str) -> str:
    return f"src/{_split(code)[0].replace('.', '/')}.py"


def _code(equation: Equation, root: Path) -> Iterator[str]:
    if not equation.code:
        yield "no code"
    for code in equation.code:
        if _defined(_tree(root / _module(code)), _split(code)[1]) is None:
            yield f"there is no {code}"


def _tests(equation: Equation, root: Path) -> Iterator[str]:
    if not equation.tests:
        yield "no test"
    for test in equation.tests:
        file, _, name = test.partition("::")
        tree = _tree(root / file)
        function = _defined(tree, name)
        if not isinstance(function, ast.FunctionDef):
            yield f"there is no {test}"
            continue
        marks = [ast.unparse(mark) for mark in function.decorator_list]
        marks += [
            ast.unparse(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and any(ast.unparse(target) == "pytestmark" for target in node.targets)
        ]
        for mark in ("slow", "skip", "xfail"):
            if any(f"mark.{mark}" in each for each in marks):
                yield f"{test} is marked {mark}, so `make test` does not hold the code to it"


def _text(file: Path) -> str:
    """Read the prose of a notebook or a page; empty if it cannot be read."""
    try:
        if file.suffix == ".md":
            return file.read_text(encoding="utf-8")
        return prose(json.loads(file.read_text(encoding="utf-8")))  # nbformat would validate, slowly
    except (OSError, ValueError, KeyError, TypeError):
        return ""


_INCLUDE = re.compile(r"\{literalinclude\} (?:\.\./)*(\S+)\n((?::[\w-]+:.*\n)*)")
_MATH = re.compile(r"^```\{math\}\n:label: (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _chapter(equation: Equation, root: Path) -> Iterator[str]:
    chapter = f"notebooks/{equation.chapter}.ipynb"
    text = _text(root / chapter)
    if not text:
        yield f"there is no {chapter} that can be read"
        return
    if equation.printed and equation.label not in printed(text):
        yield f"{chapter} has no equation with the label {equation.label}"
    if not equation.printed and f"({equation.label})=" not in text.splitlines():
        yield f"{chapter} has no place ({equation.label})="
    shown = {
        (file, name): options
        for file, options in _INCLUDE.findall(text)
        for name in re.findall(r":pyobject: (\S+)", options)
    }
    for code in equation.code:
        options = shown.get((_module(code), _split(code)[1]))
        if options is None:
            yield f"{chapter} does not show {code}"
        elif f":name: {_code_anchor(code)}" not in options.splitlines():
            yield f"{chapter} shows {code} without `:name: {_code_anchor(code)}`"
        if _role(code) not in text:
            yield f"{chapter} does not link to {code} in the reference by {_role(code)}"
    for test in equation.tests:
        file, _, name = test.partition("::")
        if (file, name) not in shown:
            yield f"{chapter} does not show {test}"
        if f":name: {anchor(test)}" not in text.splitlines():
            yield f"{chapter} has no `:name: {anchor(test)}`"


def _numbers(equations: Mapping[int | str, Equation], root: Path) -> list[str]:
    """Count the labelled equations of all pages as Sphinx does, in the order of the table of contents."""
    try:
        pages = listed(root / TOC)
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return [f"{TOC} cannot be read, so the numbers of the equations are not known"]
    labels: list[str] = []
    for page in pages:
        executed = page.startswith("book/executed/")
        file = root / (f"notebooks/{Path(page).name}.ipynb" if executed else f"{page}.md")
        labels += [label for label, _ in _MATH.findall(_text(file))]
    return [
        f"equation {equation.number}: the book numbers it ({labels.index(equation.label) + 1}); take the label from "
        "the equations before it that are not the paper's"
        for equation in equations.values()
        if equation.label in labels and labels.index(equation.label) + 1 != equation.number
    ]
