"""Every command refuses an option that is given twice, and a flag beside its opposite."""

import pytest
import typer
from typer.testing import CliRunner

from mambairv2.cli.main import app


def commands(command, path=()):
    """Yield every command of the application with the words that call it."""
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))
    else:
        yield path, command


COMMANDS = dict(commands(typer.main.get_command(app)))


def of_kind(flags):
    """Return the options of every command that are flags or take one value."""
    return [
        pytest.param(path, option, id=f"{' '.join(path)} {option.opts[0]}")
        for path, command in COMMANDS.items()
        for option in command.params
        if option.param_type_name == "option" and not option.multiple and option.is_flag == flags
    ]


def said_of(*arguments):
    """The exit code and the words of a refusal, without the frame that is drawn around it."""
    ended = CliRunner().invoke(app, arguments, env={"TERMINAL_WIDTH": "500", "NO_COLOR": "1"})
    return ended.exit_code, " ".join(ended.output.split())


def test_every_command_is_tried():
    assert {("restore",), ("data", "check"), ("analyze", "routing"), ("export",), ("check",)} <= set(COMMANDS)


@pytest.mark.parametrize(("path", "option"), of_kind(flags=False))
def test_an_option_that_is_given_twice_is_refused(path, option):
    for name in option.opts:
        code, said = said_of(*path, name, "1", name, "1")
        assert code == 2
        assert f"{option.opts[0]} is given 2 times; give it once" in said
    code, said = said_of(*path, f"{option.opts[0]}=1", option.opts[-1], "1")
    assert code == 2
    assert f"{option.opts[0]} is given 2 times; give it once" in said


@pytest.mark.parametrize(("path", "option"), of_kind(flags=True))
def test_a_flag_and_its_opposite_are_refused(path, option):
    for opposite in option.secondary_opts:
        code, said = said_of(*path, option.opts[0], opposite)
        assert code == 2
        assert f"{option.opts[0]} and {opposite} contradict each other; give one of them" in said
    assert "contradict" not in said_of(*path, option.opts[0], option.opts[0], "--no-such-option")[1]
