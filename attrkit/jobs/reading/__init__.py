"""Readers of data sets: columns of any range of rows, read when they are wanted."""

from attrkit.jobs.reading.rows import Rows as Rows
from attrkit.jobs.reading.rows import bound as bound
from attrkit.jobs.reading.source import Source as Source
from attrkit.jobs.reading.source import open_source as open_source
