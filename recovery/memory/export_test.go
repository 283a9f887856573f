package memory

// SetHash makes the log take f for IDs.
func (l *Log) SetHash(f func(id string) uint64) { l.hash = f }

// Held is how much memory the entries take, in bytes.
func (l *Log) Held() (n int) {
	for _, piece := range l.ring.pieces {
		n += cap(piece)
	}
	return n
}
