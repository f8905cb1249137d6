"""The process: supervision, folders, the socket, the configuration that runs, what is told of its health."""
