"""What panels have to show, worked out from what the agents sent: a module a board, an entry of TRUTHS a panel."""
