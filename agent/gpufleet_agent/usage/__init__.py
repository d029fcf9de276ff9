"""Who is using a GPU: from the driver's process ids to user, Slurm job, Kubernetes pod, container or systemd unit."""
