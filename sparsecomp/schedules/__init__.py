"""How ordinary TIR runs on a device."""
