"""What is seen from outside: structured logs (``observe.logging``) and Prometheus metrics (``observe.metrics``)."""
