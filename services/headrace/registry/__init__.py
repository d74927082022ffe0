"""The registry of agents: definitions as data, how they are loaded and checked, and the catalogue that services read them from."""
