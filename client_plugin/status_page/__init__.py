"""The node's page for people: what arrived, what waits for whom, what is wrong and what cures it. Read only."""
