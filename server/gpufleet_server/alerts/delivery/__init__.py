"""Who is told of alerts: Alertmanagers, which get all that fires again and again; Apprise and webhooks, by an outbox.

What the engine owes to it: `Alert`s that are firing and neither held back nor silenced, those that were and ended (see
`source.Source`), and a `Dispatcher.wake()` after a commit that changed one. The engine knows no receiver: the outbox
(store/deliveries.py) is filled from the same alerts, so that it does not matter which server saw the change.
"""
