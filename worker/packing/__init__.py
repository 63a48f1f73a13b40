"""The hot path's room: mail cut into segments, known segments found, blocks packed."""
