"""What is told of runs, of the receiver and of backups to whoever looks on: status, metrics, the log."""
