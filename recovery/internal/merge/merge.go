// Package merge reads several ascending runs of offsets as one.
package merge

import "github.com/twine-realtime/twine/recovery"

// Run is an ascending run of offsets, on its first one.
type Run interface {
	Offset() recovery.Offset
	// Advance goes to the next offset; false: there is none.
	Advance() bool
}

// Runs is a heap of runs by their current offset. The zero value is empty.
type Runs[R Run] []R

// Add puts a run in.
func (h *Runs[R]) Add(r R) {
	*h = append(*h, r)
	s := *h
	for i := len(s) - 1; i > 0; {
		parent := (i - 1) / 2
		if !s[i].Offset().Before(s[parent].Offset()) {
			break
		}
		s[i], s[parent] = s[parent], s[i]
		i = parent
	}
}

// First is the run with the smallest offset. It panics if there is no run.
func (h Runs[R]) First() R { return h[0] }

// Skip advances every run that stands on the given offset, which must be that
// of First, so that an offset that several runs have comes up once.
func (h *Runs[R]) Skip(o recovery.Offset) {
	for len(*h) > 0 && (*h)[0].Offset() == o {
		s := *h
		if !s[0].Advance() {
			last := len(s) - 1
			s[0] = s[last]
			var none R
			s[last] = none
			*h = s[:last]
		}
		h.sink()
	}
}

func (h Runs[R]) sink() {
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h[child].Offset().Before(h[least].Offset()) {
				least = child
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
