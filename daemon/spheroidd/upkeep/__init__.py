"""What keeps the state folder well for months: backups, and what is removed after its time."""
