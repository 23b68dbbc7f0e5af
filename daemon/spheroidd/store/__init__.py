"""The only SQL in the project: database and migrations, ledger, results, readers."""
