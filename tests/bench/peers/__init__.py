"""What gpufleet's store is measured beside: VictoriaMetrics and Prometheus as processes, fed by remote write."""
