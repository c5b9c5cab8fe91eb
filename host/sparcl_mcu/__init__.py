"""sparcl-mcu: networks that keep learning on microcontrollers, in integers, without forgetting."""

__version__ = "0.1.0"
