"""Rows of the coverage table: means over seeds."""

from __future__ import annotations

from tests.support.coverage import Row

ROWS: tuple[Row, ...] = ()
