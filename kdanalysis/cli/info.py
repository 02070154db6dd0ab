"""``kdanalysis info``: what is in a run folder."""

from kdanalysis.cli.options import Device, Run, Seed


def info(run: Run, seed: Seed = 0, device: Device = "auto") -> None:
    """Say what is in a run: losses, classes, captured steps, samples, and parts that were skipped.

    Example: kdanalysis info runs/gdkd
    """
    from kdanalysis.cli.terminal import print_facts
    from kdanalysis.facts import run_facts
    from kdanalysis.run import open_run

    print_facts(run_facts(open_run(run)), title=str(run))
