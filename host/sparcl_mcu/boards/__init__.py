"""Boards: what is known of each, and how to open its byte stream."""

from . import catalogue
from .opening import open_board
from .stream import BoardError, ByteStream

__all__ = ["BoardError", "ByteStream", "catalogue", "open_board"]
