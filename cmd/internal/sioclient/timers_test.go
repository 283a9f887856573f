package sioclient

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestTimersAreDueInOrder(t *testing.T) {
	var all timers
	start := time.Now()
	var want, got []int
	for range 100 {
		n := rand.IntN(1000)
		want = append(want, n)
		all.add(start.Add(time.Duration(n)*time.Millisecond), func() { got = append(got, n) })
	}
	slices.Sort(want)
	if ms := all.wait(start.Add(-time.Microsecond), time.Minute); ms != want[0]+1 {
		t.Errorf("waits %d ms for what is due in %d", ms, want[0])
	}
	if ms := all.wait(start.Add(time.Hour), time.Minute); ms != 0 {
		t.Errorf("waits %d ms for what is due", ms)
	}
	for now := start; len(got) < len(want); now = now.Add(100 * time.Millisecond) {
		for what, ok := all.due(now); ok; what, ok = all.due(now) {
			what()
			if at := start.Add(time.Duration(got[len(got)-1]) * time.Millisecond); at.After(now) {
				t.Fatalf("%s too early", at.Sub(now))
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if ms := all.wait(start, time.Minute); ms != 60_000 {
		t.Errorf("waits %d ms for nothing", ms)
	}
}
