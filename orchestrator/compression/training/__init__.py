"""Training of float networks: alone, or under a teacher."""
