package disk

import "hash/fnv"

// filter is a Bloom filter: it says of a key that it may be in a set, or that it
// is not, and is wrong about one in a hundred that are not. It spares Lookup a
// search in each of the segments. It is stored as it is.
type filter []byte

const (
	filterBits   = 10 // for each key
	filterHashes = 7
)

func newFilter(keys int) filter { return make(filter, keys*filterBits/8+8) }

// bits calls f with the number of each of a key's bits until f returns false.
func (b filter) bits(key []byte, f func(bit uint64) bool) {
	h := fnv.New64a()
	_, _ = h.Write(key)
	// FNV leaves the upper bits of short keys alike; this mixes them in.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	step := x>>32 | 1
	for range filterHashes {
		if !f(x % (uint64(len(b)) * 8)) {
			return
		}
		x += step
	}
}

func (b filter) add(key []byte) {
	b.bits(key, func(bit uint64) bool {
		b[bit/8] |= 1 << (bit % 8)
		return true
	})
}

func (b filter) mayHave(key []byte) bool {
	all := true
	b.bits(key, func(bit uint64) bool {
		all = b[bit/8]&(1<<(bit%8)) != 0
		return all
	})
	return all
}
