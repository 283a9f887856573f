package memory

// SetHash makes the log take f for IDs.
func (l *Log) SetHash(f func(id string) uint64) { l.hash = f }
