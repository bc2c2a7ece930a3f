"""Rows of the coverage table: metrics of class shares."""

from __future__ import annotations

from tests.support.coverage import Row

ROWS: tuple[Row, ...] = ()
