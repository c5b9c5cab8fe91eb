"""The float reference: continual learning in torch by the published protocol (mini-batches, epochs, plain SGD).

It says what the method itself reaches. The float twin (`learners/float_twin.py`) is another thing: the board's protocol
without rounding.
"""

from ..errors import SparclError


class FloatReferenceError(SparclError):
    """The float reference was asked for something impossible; the message names the setting."""
