"""report.html: one self-contained page drawn from the files of a run folder."""

from .render import accuracy_picture, render, render_summary

__all__ = ["accuracy_picture", "render", "render_summary"]
