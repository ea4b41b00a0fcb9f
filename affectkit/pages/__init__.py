"""Pages that open from a file system: what a report shows, as HTML, scripts that register data, and drawings; and the
server that shows such a folder on this machine alone."""
