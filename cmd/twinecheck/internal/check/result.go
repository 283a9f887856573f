package check

import (
	"context"
	"slices"
	"time"

	"github.com/twine-realtime/twine/cmd/twinecheck/internal/faults"
	"github.com/twine-realtime/twine/cmd/twinecheck/internal/history"
)

// Result is what came out of a run.
type Result struct {
	Target   string         `json:"target"`
	Seed     uint64         `json:"seed"`
	Duration time.Duration  `json:"duration_ns"`
	Cuts     map[string]int `json:"cuts"` // of clients' connections, by kind
	CutsSum  int            `json:"cuts_total"`
	// PublisherCuts counts connections of publishers that were broken.
	PublisherCuts int `json:"publisher_cuts"`
	SIGKILLs      int `json:"sigkills"`
	SIGTERMs      int `json:"sigterms"`
	FailOvers     int `json:"failovers"` // of the store
	// Retries counts attempts to publish that did not end with an acceptance.
	Retries    int64         `json:"publish_retries"`
	PublishP50 time.Duration `json:"publish_p50_ns"` // from the first attempt to the acceptance
	PublishP99 time.Duration `json:"publish_p99_ns"`
	// Unsettled says what was still going on when the run had to be judged.
	Unsettled string `json:"unsettled,omitempty"`

	*history.Report
}

// OK reports whether no promise was broken.
func (r *Result) OK() bool { return r.Violations() == 0 }

func (r *run) report(ctx context.Context) {
	if r.config.Progress == nil {
		return
	}
	const interval = 5 * time.Second
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.config.Progress(Progress{
				Elapsed: r.now(), Deliveries: r.history.Deliveries(), Cuts: sum(r.clientFaults.Cuts()),
				Kills: int(r.sigkills.Load() + r.sigterms.Load()),
			})
		}
	}
}

func sum(cuts map[faults.Kind]int) (total int) {
	for _, n := range cuts {
		total += n
	}
	return total
}

func (r *run) result() *Result {
	cuts := r.clientFaults.Cuts()
	result := &Result{
		Target: r.target.Name(), Seed: r.config.Seed, Duration: r.now(),
		Cuts: map[string]int{}, CutsSum: sum(cuts), PublisherCuts: sum(r.publisherFaults.Cuts()),
		SIGKILLs: int(r.sigkills.Load()), SIGTERMs: int(r.sigterms.Load()), FailOvers: int(r.failOvers.Load()), Retries: r.retries.Load(),
		Report: history.Verify(r.history),
	}
	for kind, n := range cuts {
		result.Cuts[kind.String()] = n
	}
	slices.Sort(r.latency.all)
	if n := len(r.latency.all); n > 0 {
		result.PublishP50, result.PublishP99 = r.latency.all[n/2], r.latency.all[n*99/100]
	}
	return result
}
