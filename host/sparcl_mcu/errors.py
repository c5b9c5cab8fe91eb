"""The common base of this project's exceptions.

Every module that can refuse its input has one exception type of its own, derived from `SparclError`. Its message
says what was wrong, where, and what to do. The command line prints that message and exits with code 2; anything
that is not a `SparclError` is a defect of ours and keeps its traceback.
"""


class SparclError(Exception):
    """Something the user can mend; the message says how."""
