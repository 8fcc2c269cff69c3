"""Decides: pure code that turns a plan and a stream of events into commands."""
