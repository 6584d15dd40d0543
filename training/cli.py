"""The ``foldin`` command: its verbs, and how their errors end."""

import sys
from typing import Final

import typer
from rich.console import Console

from service.errors import FoldinError, SettingsError
from training.errors import BadInputError
from training.torchrun import refuse_torchrun
from training.verbs.add_items import add_items
from training.verbs.bench import bench
from training.verbs.bundles import inspect, serve, verify
from training.verbs.compare import compare
from training.verbs.demo import demo
from training.verbs.evaluate import evaluate
from training.verbs.score import score
from training.verbs.train import train
from training.verbs.tune import tune

TYPER_INTERRUPTED: Final = 130  # what it makes of a Ctrl-C that nobody caught

app = typer.Typer(
    help="Train autoencoder recommenders, measure them, serve them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help stays whole: "[auto]" is a default and no tag
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (demo, train, evaluate, compare, tune, score, add_items, inspect, verify, serve):
    app.command()(verb)
app.add_typer(bench, name="bench")


@app.callback(epilog="Any verb takes --debug: show the traceback of an error.")
def verbs(context: typer.Context) -> None:
    """Train autoencoder recommenders, measure them, serve them."""
    if context.invoked_subcommand != "train":
        refuse_torchrun(context.invoked_subcommand)


def main() -> None:
    """Run the command; an error is one line and a code: 2 for bad usage or input, else 1."""
    errors = Console(stderr=True)
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(arguments)
    except SystemExit as stop:
        if stop.code != TYPER_INTERRUPTED:
            raise
        errors.print("foldin: interrupted", style="red")
        sys.exit(1)
    except (FoldinError, OSError) as error:
        if len(arguments) < len(sys.argv[1:]):
            errors.print_exception()
        errors.print(f"foldin: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, BadInputError | SettingsError) else 1)
