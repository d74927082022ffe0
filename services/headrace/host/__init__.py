"""Running services: what one is to its process (``host.component``), and the process around them (``host.process``)."""
