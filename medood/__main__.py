"""`python -m medood` is `medood`."""

from medood.cli import main

main()
