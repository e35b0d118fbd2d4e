"""Parameters of flow and task functions: binding, validation and schema."""
