"""Who is using a GPU: control groups, /proc, and the names that the node has."""
