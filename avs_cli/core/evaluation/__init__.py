"""Measures of runs, tests of significance, reports and plots."""
