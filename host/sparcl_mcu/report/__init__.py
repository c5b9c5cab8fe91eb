"""report.html: one self-contained page drawn from the files of a run folder."""

from .render import ReportError, render, render_summary

__all__ = ["ReportError", "render", "render_summary"]
