"""What a run has come to, in figures: pure, from what its ledger has."""
