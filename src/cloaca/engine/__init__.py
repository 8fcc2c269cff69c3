"""Decides: pure code that turns a workflow and a stream of events into commands."""
