"""What other machines ask: is it well (`/healthz`), and the numbers (`/metrics`); loopback only."""
