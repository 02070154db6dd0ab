"""``kdanalysis info``: what is in a run folder."""

from kdanalysis.cli.groups import Machine, grouped
from kdanalysis.cli.options import Run


@grouped
def info(run: Run, machine: Machine) -> None:
    """Say what is in a run: losses, classes, steps, samples.

    Example: kdanalysis info runs/gdkd
    """
    from kdanalysis.cli.terminal import print_facts
    from kdanalysis.store.run import StoredRun
    from kdanalysis.studies.facts import run_facts

    print_facts(run_facts(StoredRun(run)), title=str(run))
