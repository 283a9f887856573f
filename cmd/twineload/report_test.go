package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Percentiles of parts cannot be averaged: the merged histogram has those of the whole.
func TestHistogramsOfWorkersAreMerged(t *testing.T) {
	fast, slow, all := newHistogram(), newHistogram(), newHistogram()
	for range 990 {
		record(fast, 1000)
	}
	for range 10 {
		record(slow, 500_000)
	}
	record(slow, time.Hour.Microseconds()) // more than it holds
	for _, h := range []*histogram{fast, slow} {
		if err := merge(all, encode(h)); err != nil {
			t.Fatal(err)
		}
	}
	if s := summary(all); s.Count != 1001 || s.P50 > 1.01 || s.P99 < 499 || s.P99 > 501 || s.Max < 599_000 {
		t.Errorf("%+v", s)
	}
	if merge(all, []byte("no histogram")) == nil {
		t.Error("merged nonsense")
	}
}

func TestResultSaysWhatIsWrong(t *testing.T) {
	good := &result{CPUs: 2, Settings: &settings{}, Users: 3, Received: 5, Expected: 5, Published: 5, Phases: []phase{{Name: "ramp", Machine: 1, Busiest: 0.5, Seconds: 1}}}
	good.judge()
	var out strings.Builder
	if err := good.print(&out); err != nil || len(good.Broken)+len(good.Saturated) != 0 || !strings.Contains(out.String(), "OK") {
		t.Errorf("%v %v %v\n%s", err, good.Broken, good.Saturated, &out)
	}
	bad := &result{
		CPUs: 2, Settings: &settings{KillAfter: 1}, NeverReady: 1, Away: 1, Nothing: 1, Missing: 1, Doubled: 1, OutOfOrder: 1, Foreign: 1, Refused: 1, Anew: 1,
		Failures: map[string]int64{"dial: connection refused": 4}, Lag: latency{P99: 60}, PostLate: latency{P99: 60},
		Phases: []phase{{Name: "publish", Machine: 1.99, Busiest: 0.99}},
	}
	bad.judge()
	if len(bad.Broken) != 10 || len(bad.Saturated) != 4 {
		t.Errorf("%q %q", bad.Broken, bad.Saturated)
	}
	out.Reset()
	if err := bad.print(&out); err != nil || strings.Contains(out.String(), "OK ") {
		t.Errorf("%v\n%s", err, &out)
	}
	for _, want := range []string{"BROKEN 4 failures of users", "SATURATED publish: a worker used 0.99", "connection refused"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, &out)
		}
	}
}

func TestCountsAreAddedUp(t *testing.T) {
	var sum counts
	sum.add(&counts{Connected: 1, Received: 2, Missing: 3, Foreign: 1})
	sum.add(&counts{Connected: 1, Received: 2, Missing: 3})
	if sum != (counts{Connected: 2, Received: 4, Missing: 6, Foreign: 1}) {
		t.Errorf("%+v", sum)
	}
	sum.add(&counts{Missing: -1})
	sum.add(&counts{Missing: 5})
	if sum.Missing != -1 {
		t.Error("what is missing is known though one does not know it")
	}
	causes := make([]string, 0, maxCauses)
	w := &worker{causes: map[string]int64{}}
	for i := range 2 * maxCauses {
		w.fail(strings.Repeat("x", i))
	}
	for cause := range w.causes {
		causes = append(causes, cause)
	}
	if len(causes) != maxCauses+1 || !slices.Contains(causes, "others") {
		t.Errorf("%d causes", len(causes))
	}
}

// A timeline tells the second in which things were late, over several workers.
func TestTimelineFindsTheSlowSecond(t *testing.T) {
	var all timeline
	for range 2 {
		var worker timeline
		for i := range int64(300) {
			worker.record(i*10_000, 5_000) // three seconds of it
		}
		worker.record(1_500_000, 400_000)
		worker.record(1_600_000, 300_000)
		if err := all.merge(worker.encode()); err != nil {
			t.Fatal(err)
		}
	}
	out := &result{Settings: &settings{}, Timeline: moments(all, nil, nil)}
	if len(out.Timeline) != 3 || out.Timeline[1].Delivery.Count != 204 || out.Timeline[2].Delivery.P99 > 6 {
		t.Errorf("%+v", out.Timeline)
	}
	var text strings.Builder
	if err := out.print(&text); err != nil || !strings.Contains(text.String(), "above 100 ms  1 of 3\n") {
		t.Errorf("%v\n%s", err, &text)
	}
	if all.merge(map[int][]byte{-1: nil}) == nil || all.merge(map[int][]byte{1: []byte("nonsense")}) == nil {
		t.Error("merged nonsense")
	}
	all.record(time.Hour.Microseconds()*1000, 1)
	if len(all) != maxSeconds {
		t.Errorf("%d seconds", len(all))
	}
}
