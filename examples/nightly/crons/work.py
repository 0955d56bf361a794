import time

from stoker.crons import cron_job

with cron_job(time_limit="1m", exit_if_running=False):
    time.sleep(0.1)
