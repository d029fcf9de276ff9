"""SQL that several boards have: of single GPUs, of the fleet by its rollups, of who held what."""
