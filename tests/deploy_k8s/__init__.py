"""The Helm chart and its manifests. No cluster is asked: objects are rendered by the real helm and checked as data."""
