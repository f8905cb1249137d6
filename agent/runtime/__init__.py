"""The process: supervision, folders, the socket, the running configuration, the health report."""
