"""Ask: submit jobs, wait for them, watch them, from any program."""
