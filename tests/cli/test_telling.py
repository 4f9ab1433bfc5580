"""How commands end: mistakes of the user in a line, our own with a traceback, Ctrl-C with its code."""

import pytest
import typer

from mambairv2.cli.exits import telling
from mambairv2.installation import install_extra


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ValueError("a wrong value"), 1, "a wrong value"),
        (RuntimeError("no loss"), 1, "no loss"),
        (MemoryError("not enough memory on cpu"), 1, "not enough memory on cpu"),
        (
            FileNotFoundError(2, "No such file or directory", "a.png"),
            1,
            "a.png: no such file or directory; check the name",
        ),
        (FileNotFoundError("no folder a"), 1, "no folder a"),
        (ModuleNotFoundError("", name="pydantic"), 1, f"pydantic is not installed; {install_extra('train')}"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_mistakes_are_told_in_a_line(error, code, says, capsys):
    with pytest.raises(typer.Exit) as caught, telling():
        raise error
    assert caught.value.exit_code == code
    assert capsys.readouterr().err == f"error: {says}\n"


@pytest.mark.parametrize("error", [KeyError("ours"), ModuleNotFoundError("", name="mambairv2.nothing")])
def test_our_own_errors_keep_their_traceback(error):
    with pytest.raises(type(error)), telling():
        raise error


@pytest.mark.parametrize("error", [typer.Exit(1), typer.Exit(0), typer.Abort()])
def test_an_end_that_was_told_already_is_not_told_again(error, capsys):
    with pytest.raises(type(error)) as caught, telling(2):
        raise error
    assert caught.value is error
    assert capsys.readouterr().err == ""


def test_the_code_may_be_another():
    with pytest.raises(typer.Exit) as caught, telling(2):
        raise ValueError
    assert caught.value.exit_code == 2
