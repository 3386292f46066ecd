"""`python -m media_workers`."""

from media_workers.main import main

main()
