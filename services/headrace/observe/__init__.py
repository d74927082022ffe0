"""What is seen from outside: structured logs (``observe.logging``), Prometheus metrics
(``observe.metrics``) and traces (``observe.tracing``)."""
