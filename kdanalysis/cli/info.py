"""``kdanalysis info``: what is in a run folder."""

from kdanalysis.cli.options import Device, Run, Seed


def info(run: Run, seed: Seed = 0, device: Device = "auto") -> None:
    """Say what is in a run: losses, classes, steps, samples.

    Example: kdanalysis info runs/gdkd
    """
    from kdanalysis.cli.terminal import print_facts
    from kdanalysis.store.run import StoredRun
    from kdanalysis.studies.facts import run_facts

    print_facts(run_facts(StoredRun(run)), title=str(run))
