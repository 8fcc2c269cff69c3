"""How far an execution is, as a value and as a display. Nothing of it is told by a run: who wants to know looks."""
