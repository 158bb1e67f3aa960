"""Data set jobs: a file says what to explain and how; shards of it are computed anywhere and committed once."""

from attrkit.jobs.job import Job as Job
from attrkit.jobs.job import read_job as read_job
from attrkit.jobs.results import JobResult as JobResult
from attrkit.jobs.running import run as run
from attrkit.jobs.running import status as status
from attrkit.jobs.running import verify as verify
from attrkit.jobs.work import ShardDone as ShardDone
from attrkit.jobs.work import ShardQueue as ShardQueue
from attrkit.jobs.work import ShardWork as ShardWork
