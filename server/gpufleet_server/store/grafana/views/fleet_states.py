"""The view `fleet_states`."""

from gpufleet_server.store.grafana.fleet import of_states

VIEW = of_states("fleet_states", "How many GPUs were in a state: counted each minute, of old times each hour.")
