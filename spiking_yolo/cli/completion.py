"""Let the Tab key of your shell complete verbs, options and methods.

spiking-yolo completion --install  # for the shell that runs this, from its next start on
spiking-yolo completion zsh        # print the script, to put it where you like
"""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from cyclopts import App
from cyclopts.completion import ShellDetectionError

from spiking_yolo.cli.program import app_of
from spiking_yolo.errors import UserError
from spiking_yolo.io.assets import PROGRAM
from spiking_yolo.settings import Options, setting


@dataclass(frozen=True)
class CompletionOptions(Options):
    """Which shell."""

    shell: Literal["bash", "zsh", "fish", "powershell"] | None = setting(
        None, "bash, zsh, fish or powershell (default: the shell that runs this)"
    )
    _: KW_ONLY
    install: bool = setting(False, "write the script where the shell finds it when it starts")


def main(options: CompletionOptions) -> None:
    app = app_of_verbs()
    try:
        if options.install:
            path = app.install_completion(shell=options.shell)
            print(f"{path} is written: start a new shell")
        else:
            print(app.generate_completion(shell=options.shell))
    except ShellDetectionError:
        raise UserError(
            "which shell this is cannot be told: name it, as in completion bash"
        ) from None


def app_of_verbs() -> App:
    """The whole program, as shells complete it."""
    from spiking_yolo.cli.main import VERBS, classes

    whole = App(name=PROGRAM, help_flags=("--help", "-h"), version_flags=("--version", "-V"))
    for verb, cls in classes().items():
        app = app_of(cls, verb, required=False)
        app.help = VERBS[verb]
        app.help_flags = ("--help", "-h")
        whole.command(app)
    return whole
