#!/bin/bash
# The worker of supervisord.single.conf, on Stoker. What the script of the document did itself, `stoker worker` does:
# ENABLE_WORKER=false leaves it idle, and it waits for its store, at most STOKER_START_DELAY seconds (15 by default).
# It replaces this shell, so signals reach it. Run it where the application is: `commands` is imported from here.
exec stoker worker --import-modules commands --max-tasks 5 --name surreal-commands-worker
