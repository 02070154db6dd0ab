"""``python -m kdanalysis``: the same commands as ``kdanalysis``."""

from kdanalysis.cli.main import main

main()
