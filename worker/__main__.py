"""`python -m worker`: one worker process."""

from worker.settings import run

run()
