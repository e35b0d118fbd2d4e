"""`python -m flowyard.cli`: the command line where the console script is not on the path."""

from flowyard.cli.root import app

app(prog_name="flowyard")
