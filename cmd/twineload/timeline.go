package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// timeline tells when the late ones were late: a histogram for each second of the run, of what was due, or sent, in it.
type timeline []*histogram

// maxSeconds bounds a timeline. What comes after it counts for its last second.
const maxSeconds = 2 * 60 * 60

// record takes a time and when it began, both in microseconds, the latter since the start of the run.
func (t *timeline) record(began, micros int64) {
	second := int(min(max(began, 0)/1e6, maxSeconds-1))
	for len(*t) <= second {
		*t = append(*t, nil)
	}
	if (*t)[second] == nil {
		// To two digits, in 16 KB each.
		(*t)[second] = hdrhistogram.New(1, (10 * time.Minute).Microseconds(), 2)
	}
	record((*t)[second], micros)
}

// encode returns the histograms by second.
func (t timeline) encode() map[int][]byte {
	encoded := make(map[int][]byte)
	for second, h := range t {
		if h != nil {
			encoded[second] = encode(h)
		}
	}
	return encoded
}

func (t *timeline) merge(encoded map[int][]byte) error {
	for second, b := range encoded {
		if second < 0 || second >= maxSeconds {
			return fmt.Errorf("second %d of a run", second)
		}
		for len(*t) <= second {
			*t = append(*t, nil)
		}
		if (*t)[second] == nil {
			(*t)[second] = hdrhistogram.New(1, (10 * time.Minute).Microseconds(), 2)
		}
		if err := merge((*t)[second], b); err != nil {
			return err
		}
	}
	return nil
}

// moment is one second of a run.
type moment struct {
	Second   int     `json:"second"` // after the run's start
	Delivery latency `json:"delivery"`
	Answer   latency `json:"publish_answer"`
	PostLate latency `json:"publish_lateness"`
}

func moments(delivery, answer, late timeline) (all []moment) {
	for second := range max(len(delivery), len(answer), len(late)) {
		m := moment{Second: second}
		for into, t := range map[*latency]timeline{&m.Delivery: delivery, &m.Answer: answer, &m.PostLate: late} {
			if second < len(t) && t[second] != nil {
				*into = summary(t[second])
			}
		}
		if m.Delivery.Count > 0 || m.Answer.Count > 0 {
			all = append(all, m)
		}
	}
	return all
}

// slow is what a second's 99th percentile has to exceed, in milliseconds, to be listed, and listed how many are at most.
const (
	slow   = 100
	listed = 10
)

// printSlow lists the slowest seconds, so that one pause is told from a server that is slow all the time.
func printSlow(w io.Writer, all []moment) {
	late := slices.DeleteFunc(slices.Clone(all), func(m moment) bool { return m.Delivery.P99 <= slow })
	if len(late) == 0 {
		return
	}
	fmt.Fprintf(w, "\nseconds with a 99th percentile of deliveries above %d ms\t%d of %d\n", slow, len(late), len(all))
	slices.SortFunc(late, func(a, b moment) int { return cmp.Compare(b.Delivery.P99, a.Delivery.P99) })
	late = late[:min(len(late), listed)]
	slices.SortFunc(late, func(a, b moment) int { return a.Second - b.Second })
	fmt.Fprintln(w, "second\tdue\tp50\tp99\tmax\tto 201 p99\tposted late p99")
	for _, m := range late {
		fmt.Fprintf(w, "%d\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\n", m.Second, m.Delivery.Count, m.Delivery.P50, m.Delivery.P99, m.Delivery.Max,
			m.Answer.P99, m.PostLate.P99)
	}
}
