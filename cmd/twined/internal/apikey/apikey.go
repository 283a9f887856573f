// Package apikey holds the keys that publishers prove themselves with.
package apikey

import (
	"crypto/sha256"
	"crypto/subtle"
)

// Set is a set of valid keys. It keeps their hashes only and never changes, so it may be used concurrently.
type Set struct {
	hashes [][sha256.Size]byte
}

// NewSet returns the set of the given keys. An empty set accepts nothing.
func NewSet(keys ...string) *Set {
	set := &Set{hashes: make([][sha256.Size]byte, len(keys))}
	for i, key := range keys {
		set.hashes[i] = sha256.Sum256([]byte(key))
	}
	return set
}

// Contains reports whether key is valid. How long it takes depends on the length of key and on the number of keys in
// the set alone: hashing makes all keys of one length, and a match does not end the comparison.
func (s *Set) Contains(key string) bool {
	hash := sha256.Sum256([]byte(key))
	found := 0
	for i := range s.hashes {
		found |= subtle.ConstantTimeCompare(hash[:], s.hashes[i][:])
	}
	return found == 1
}
