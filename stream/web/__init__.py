"""What a worker serves over HTTP: the live page, the API for cameras, health, metrics. Imported only where served."""
