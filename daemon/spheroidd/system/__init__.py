"""What ties the daemon to its machine: systemd's notifications and the log."""
