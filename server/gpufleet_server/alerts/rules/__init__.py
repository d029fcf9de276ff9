"""The rules, one a module, named RULE; the module's docstring is its runbook."""
