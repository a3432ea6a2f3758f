"""The contracts: pure, importing nobody else here."""
