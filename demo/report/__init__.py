"""The demo's result as one self-contained HTML file: no script, no external resource, readable offline."""

from demo.report.page import render, write_report

__all__ = ["render", "write_report"]
