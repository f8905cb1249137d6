"""A village on localhost: devices that speak the real protocols, a broker, a link that can be cut, and the agent."""
