"""The word list of scripts/prose.py finds each of its words, and the product has none of them."""

import runpy
import sys
from pathlib import Path

import pytest

from scripts import prose

CLEAN = '''
"""The desktop app recommends amendments; no user is left out, and it goes onwards."""
RETRY = "goes", "on"  # Bookkeeping stays
GOES_ON = all_the_same = "the same, always"
'''


def forms(text: str, path: str = "stream/module.py") -> list[tuple[int, str]]:
    return [(one.line, one.form) for one in prose.check(path, text)]


def missed(source: str, path: str = "stream/module.py") -> list[str]:
    """Return the forms that are not found, alone, where ``source`` has ``{}``."""
    return [
        text
        for form in prose.FORMS
        for text in (form, form.capitalize(), form.upper())
        if [found for _, found in forms(source.replace("{}", text), path)] != [form]
    ]


@pytest.mark.parametrize(
    "source",
    [
        '"""A {}."""\n',
        'def f():\n    """A\n\n    line {} more."""\n',
        "x = 1  # {}, a reason\n",
        'f(f"x {x} {} y", key=r"\\d")\n',
        'x = "\\n{}\\n"\n',
    ],
)
def test_each_form_is_found_in_docstrings_comments_and_literals(source):
    assert not missed(source)


@pytest.mark.parametrize("path", ["README.md", "helm/chart/values.yaml", "helm/chart/NOTES.txt"])
def test_each_form_is_found_in_other_files(path):
    assert not missed("a\n# -- It {}.\n", path)


@pytest.mark.parametrize(
    "between",
    [
        '"""It {}\n    {}."""\n',
        "# it {}\n    # {}\n",
        'x = (\n    "it {} "\n    "{}"\n)\n',
        'x = (\n    f"it {y} {} "\n    f"{}"\n)\n',
    ],
)
def test_a_phrase_is_found_where_it_is_wrapped(between):
    for form in prose.FORMS:
        if " " in form:
            first, rest = form.split(" ", 1)
            source = between.replace("{}", first, 1).replace("{}", rest)
            assert [found for _, found in forms(source)] == [form]


@pytest.mark.parametrize("form", sorted(prose.NAMES))
def test_names_are_covered_for_the_words_that_became_names(form):
    title, capitals = form.capitalize(), form.upper()
    for name in (form, f"_{form}_of", f"LAST_{capitals}", f"{title}Of", f"last{title}", title):
        assert forms(f"{name} = 1\n") == [(1, form)]


def test_the_words_that_became_names():
    assert {"mend", "anew", "desk", "pulse"} <= prose.NAMES


def test_a_clean_text_passes():
    assert forms(CLEAN) == []


def test_a_finding_names_file_line_word_and_what_to_use(tmp_path, capsys):
    (tmp_path / "stream").mkdir()
    (tmp_path / "stream" / "module.py").write_text('"""Retry."""\n\nx = 1  # Mends it.\n')
    assert prose.main(tmp_path) == 1
    assert capsys.readouterr().out == "stream/module.py:3: mends: use fix\n"


def test_a_clean_tree_ends_with_0(tmp_path, capsys):
    (tmp_path / "README.md").write_text("Retries resume.\n")
    assert prose.main(tmp_path) == 0
    assert capsys.readouterr().out == ""


def test_the_program_checks_the_whole_product():
    checked = {str(path.relative_to(prose.ROOT)) for path in prose.files()}
    assert {
        *("README.md", "CONTRIBUTING.md", "docs/index.md", "docs/reference/settings.md"),
        *("stream/settings.py", "stream/telemetry/page.html", "sink/models.py"),
        *("scripts/documents.py", "helm/wootric-destination/values.yaml"),
        *("helm/wootric-destination/templates/_pod.tpl", "helm/wootric-destination/README.in.md"),
    } <= checked


def test_the_product_has_none_of_the_words():
    found = list(map(str, prose.findings()))
    assert not found, "\n".join(found)


def test_the_module_is_a_program(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["prose"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(Path(prose.__file__)), run_name="__main__")
    assert ended.value.code == (1 if prose.findings() else 0)
