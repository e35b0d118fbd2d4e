"""Where the time of a flow run went: computed from what was recorded, without reading anything itself."""
