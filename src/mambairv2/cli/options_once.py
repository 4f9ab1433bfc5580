"""A command that refuses an option that is given twice, of which only the last would count."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class Command(TyperCommand):
    """A command whose options are given once, and a flag and its opposite not together."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 (as in typer)
        """Parse them; a usage error (exit code 2) names the option."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        given = set(args[: args.index("--")] if "--" in args else args)
        for option in order:
            if option.param_type_name != "option" or getattr(option, "multiple", False):
                continue
            count = order.count(option)
            if getattr(option, "is_flag", False):
                chosen = [one for one in (*option.opts, *option.secondary_opts) if one in given]
                if given & set(option.opts) and given & set(option.secondary_opts):
                    ctx.fail(f"{' and '.join(chosen)} contradict each other; give one of them")
            elif count > 1:
                ctx.fail(f"{option.opts[0]} is given {count} times; give it once")
        return super().parse_args(ctx, args)
