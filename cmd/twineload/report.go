package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// result is all that a run found out.
type result struct {
	Time     time.Time `json:"time"`
	CPUs     int       `json:"cpus"`
	Settings *settings `json:"settings"`

	Users      int              `json:"users"`
	NeverReady int              `json:"users_never_subscribed"`
	Away       int              `json:"users_away_in_the_end"`
	Nothing    int              `json:"users_without_a_message"`
	Connects   int64            `json:"connects"`
	Failures   map[string]int64 `json:"failures"` // of users, by cause

	Cut       int64 `json:"cut"`
	Lost      int64 `json:"lost"`
	Killed    int64 `json:"lost_with_killed_server"`
	Recovered int64 `json:"recovered"`
	Anew      int64 `json:"not_recovered"`
	Gaps      int64 `json:"gaps_told"`

	Published  int64            `json:"published"`
	Requests   int64            `json:"publish_requests"` // of up to Settings.Batch messages each
	Refused    int64            `json:"publish_failed"`
	Held       int64            `json:"publish_held"` // posted late because the room's message before was not answered yet
	Retries    int64            `json:"publish_retries"`
	Tries      map[string]int64 `json:"publish_failures"` // of tries, by cause; one that was accepted later is no loss
	Expected   int64            `json:"deliveries_expected"`
	Received   int64            `json:"deliveries_received"`
	Missing    int64            `json:"missing"`
	Doubled    int64            `json:"doubled"`
	OutOfOrder int64            `json:"out_of_order"`
	Foreign    int64            `json:"unexpected_events"`
	Caught     int64            `json:"deliveries_caught_up"`

	Ready    latency `json:"time_to_subscribed"`
	Delivery latency `json:"delivery"`
	Late     latency `json:"delivery_caught_up"`
	Back     latency `json:"time_to_reconnected"`
	Answer   latency `json:"publish_answer"`
	PostLate latency `json:"publish_lateness"`
	Lag      latency `json:"worker_lag"`

	// Storm is about the connections that were cut, or ended with the server that was killed.
	Storm *storm `json:"storm,omitempty"`

	Timeline []moment       `json:"timeline,omitempty"`
	Phases   []phase        `json:"phases"`
	KBUser   float64        `json:"server_kb_per_user,omitempty"`
	Warnings map[string]int `json:"server_warnings,omitempty"`

	Saturated []string `json:"saturated,omitempty"` // what makes the times doubtful
	Broken    []string `json:"broken,omitempty"`    // what should not have been
}

// storm is how long it took after the first cut.
type storm struct {
	AllBack   float64 `json:"all_back_s"`
	AllCaught float64 `json:"all_caught_up_s"`
}

func (r *session) result(finals []*finalReport) (*result, error) {
	s, c := r.settings, r.last.counts
	out := &result{
		Time: time.Now().UTC(), CPUs: runtime.NumCPU(), Settings: s, Users: s.Users, Away: s.Users - c.Connected,
		Connects: c.Connects, Failures: make(map[string]int64), Cut: c.Cut, Lost: c.Lost, Killed: c.Killed, Recovered: c.Recovered, Anew: c.Anew, Gaps: c.Gaps,
		Received: c.Received, Missing: max(c.Missing, 0), Foreign: c.Foreign, Phases: r.phases,
	}
	live, late, ready, back, lag := newHistogram(), newHistogram(), newHistogram(), newHistogram(), newHistogram()
	var deliveries timeline
	var lastBack, lastCaught, firstCut int64
	for _, f := range finals {
		for cause, n := range f.Causes {
			out.Failures[cause] += n
		}
		out.Expected += f.Expected
		out.Doubled += f.Doubled
		out.OutOfOrder += f.OutOfOrder
		out.Nothing += f.Nothing
		out.NeverReady += f.NeverReady
		out.Caught += f.Caught
		lastBack, lastCaught = max(lastBack, f.LastJoined), max(lastCaught, f.LastCaught)
		if f.FirstCut > 0 && (firstCut == 0 || f.FirstCut < firstCut) {
			firstCut = f.FirstCut
		}
		for into, encoded := range map[*histogram][]byte{live: f.Live, late: f.Late, ready: f.Ready, back: f.Back, lag: f.Lag} {
			if err := merge(into, encoded); err != nil {
				return nil, fmt.Errorf("histogram of a worker: %w", err)
			}
		}
		if err := deliveries.merge(f.Timeline); err != nil {
			return nil, fmt.Errorf("timeline of a worker: %w", err)
		}
	}
	if !r.killed.IsZero() {
		firstCut = r.killed.Sub(r.start).Microseconds()
	}
	if r.publisher == nil {
		out.Nothing = 0
	} else {
		p := r.publisher
		out.Published, out.Refused, out.Retries, out.Held = p.accepted.Load(), p.failed.Load(), p.retries.Load(), p.held.Load()
		out.Requests = p.requests.Load()
		out.Tries = p.causes
		out.Answer, out.PostLate = summary(p.answer), summary(p.late)
		out.Timeline = moments(deliveries, p.answers, p.lateness)
	}
	out.Ready, out.Delivery, out.Late, out.Back, out.Lag = summary(ready), summary(live), summary(late), summary(back), summary(lag)
	if firstCut > 0 {
		seconds := func(t int64) float64 { return max(float64(t-firstCut)/1e6, 0) }
		out.Storm = &storm{seconds(lastBack), max(seconds(lastCaught), seconds(lastBack))}
	}
	if r.servers != nil {
		out.Warnings = r.servers.warnings()
		out.KBUser = r.memoryPerUser()
	}
	out.judge()
	return out, nil
}

// memoryPerUser returns what the servers' memory has grown by until all were there, in KB of 1,000 bytes a user.
func (r *session) memoryPerUser() float64 {
	var grown int64
	for _, p := range r.phases {
		if p.Name != "ramp" && p.Name != "hold" {
			continue
		}
		grown = 0
		for i, rss := range p.RSS {
			grown += rss - r.servers.before[i]
		}
	}
	return float64(grown) / 1000 / float64(max(r.settings.Users, 1))
}

// Past these the tool's own times are in the results.
const (
	busyWorker  = 0.85 // of a processor
	busyMachine = 0.95 // of all processors
	lateTool    = 50   // milliseconds, 99th percentile
)

// judge says what is wrong.
func (out *result) judge() {
	broken := func(n int64, format string) {
		if n != 0 {
			out.Broken = append(out.Broken, fmt.Sprintf(format, n))
		}
	}
	var failures int64
	for _, n := range out.Failures {
		failures += n
	}
	broken(int64(out.NeverReady), "%d users never subscribed")
	broken(int64(out.Away), "%d users are not connected in the end")
	broken(int64(out.Nothing), "%d users received nothing")
	broken(out.Missing, "%d messages are missing")
	broken(out.Doubled, "%d messages came twice")
	broken(out.OutOfOrder, "%d messages came out of order")
	broken(out.Foreign, "%d events should not have come")
	broken(out.Refused, "%d messages were not accepted")
	broken(out.Anew, "%d clients came back without their session")
	broken(failures, "%d failures of users, see the causes")
	for _, p := range out.Phases {
		if p.Busiest > busyWorker {
			out.Saturated = append(out.Saturated, fmt.Sprintf("%s: a worker used %.2f processors; use more --workers", p.Name, p.Busiest))
		}
		if p.loaded() && p.Machine > busyMachine*float64(out.CPUs) {
			out.Saturated = append(out.Saturated, fmt.Sprintf("%s: the machine's %d processors were busy %.0f %% of the time; the times are the machine's, not the server's", p.Name, out.CPUs, 100*p.Machine/float64(out.CPUs)))
		}
	}
	if out.Lag.P99 > lateTool {
		out.Saturated = append(out.Saturated, fmt.Sprintf("the workers' loops were up to %.0f ms late (99th percentile)", out.Lag.P99))
	}
	if out.PostLate.P99 > lateTool {
		out.Saturated = append(out.Saturated, fmt.Sprintf("messages were posted up to %.0f ms after they were due (99th percentile)", out.PostLate.P99))
	}
}

func (out *result) print(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	line("users", "%d, of them never subscribed %d, away in the end %d", out.Users, out.NeverReady, out.Away)
	line("connects", "%d; cut %d, with the killed server %d, lost %d, came back with their session %d, without %d, told of a gap %d", out.Connects, out.Cut,
		out.Killed, out.Lost, out.Recovered, out.Anew, out.Gaps)
	if out.Published > 0 || out.Refused > 0 {
		line("published", "%d in %d requests of up to %d, not accepted %d; requests sent again %d, held up by the one before %d", out.Published,
			out.Requests, out.Settings.Batch, out.Refused, out.Retries, out.Held)
		line("deliveries", "%d expected, %d received; %d missing, %d doubled, %d out of order, %d unexpected", out.Expected, out.Received,
			out.Missing, out.Doubled, out.OutOfOrder, out.Foreign)
		line("users without a message", "%d", out.Nothing)
	}
	if s := out.Storm; s != nil {
		line(out.Settings.struck(), "all back %.2f s, all caught up %.2f s", s.AllBack, s.AllCaught)
	}
	fmt.Fprintln(w, "\nmilliseconds\tcount\tp50\tp99\tp99.9\tmax")
	for _, h := range []struct {
		name string
		latency
	}{
		{"start to subscribed", out.Ready}, {"due to delivered", out.Delivery}, {"  when it was missed at first", out.Late},
		{"cut to connected again", out.Back}, {"publish to 201", out.Answer}, {"tool: posted late", out.PostLate}, {"tool: worker lag", out.Lag},
	} {
		if h.Count > 0 {
			fmt.Fprintf(w, "%s\t%d\t%.1f\t%.1f\t%.1f\t%.1f\n", h.name, h.Count, h.P50, h.P99, h.P999, h.Max)
		}
	}
	fmt.Fprintln(w, "\nprocessors\tseconds\tmachine\ttool: leader\tworkers\tbusiest\tservers\tredis\tservers' work")
	for _, p := range out.Phases {
		fmt.Fprintf(w, "%s\t%.1f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%s\n", p.Name, p.Seconds, p.Machine, p.Leader, p.Workers, p.Busiest, p.Servers, p.Redis, p.work())
	}
	printSlow(w, out.Timeline)
	if out.KBUser > 0 {
		fmt.Fprintf(w, "\nservers' memory\t%.1f KB a user, once all were there\n", out.KBUser)
	}
	list(w, "failures of users", out.Failures)
	list(w, "failed tries to publish", out.Tries)
	list(w, "servers' warnings", out.Warnings)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, text := range out.Saturated {
		fmt.Fprintln(to, "SATURATED", text)
	}
	for _, text := range out.Broken {
		fmt.Fprintln(to, "BROKEN", text)
	}
	if len(out.Broken) == 0 {
		fmt.Fprintln(to, "OK nothing failed, nothing was lost")
	}
	return nil
}

// struck says what the users had to come back from.
func (s *settings) struck() string {
	if s.KillAfter > 0 {
		return "after the kill"
	}
	return "after the first cut"
}

// loaded reports whether the phase is one that is measured.
func (p *phase) loaded() bool { return p.Name == "ramp" || p.Name == "publish" }

// work says what the servers' processor time went into.
func (p *phase) work() string {
	switch {
	case p.ServerUS == 0 || !p.loaded():
		return ""
	case p.Received > 0 && p.Connects == 0:
		return fmt.Sprintf("%.1f µs a delivery", p.ServerUS/float64(p.Received))
	case p.Connects > 0 && p.Received == 0:
		return fmt.Sprintf("%.0f µs a connect", p.ServerUS/float64(p.Connects))
	}
	return ""
}

func list[N int | int64](w io.Writer, name string, counts map[string]N) {
	if len(counts) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", name)
	for _, cause := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(w, "%d\t%s\n", counts[cause], cause)
	}
}

func (out *result) write(file string) error {
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
