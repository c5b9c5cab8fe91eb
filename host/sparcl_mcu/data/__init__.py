"""Data sets and how they are cut into tasks."""

from .catalogue import load
from .dataset import DataError, DataSet, pooled
from .tasks import Task, class_incremental, consecutive, domain_incremental, named, recorded_incremental

__all__ = [
    "DataError",
    "DataSet",
    "Task",
    "class_incremental",
    "consecutive",
    "domain_incremental",
    "load",
    "named",
    "pooled",
    "recorded_incremental",
]
