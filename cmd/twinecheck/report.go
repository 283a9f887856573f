package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/twine-realtime/twine/cmd/twinecheck/internal/check"
	"github.com/twine-realtime/twine/cmd/twinecheck/internal/faults"
)

// printResult writes a result for a person to read.
func printResult(w io.Writer, r *check.Result) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("target", "%s, seed %d, %s", r.Target, r.Seed, r.Duration.Round(time.Second))
	line("messages", "%d published, %d accepted (p50 %s, p99 %s), %d attempts repeated",
		r.Messages, r.Accepted, r.PublishP50.Round(10*time.Microsecond), r.PublishP99.Round(10*time.Microsecond), r.Retries)
	line("deliveries", "%d, of %d expected", r.Deliveries, r.Expected)
	var kinds []string
	for _, kind := range faults.Kinds() {
		kinds = append(kinds, fmt.Sprintf("%d %s", r.Cuts[kind.String()], kind))
	}
	line("cuts", "%d (%s), and %d of publishers", r.CutsSum, strings.Join(kinds, ", "), r.PublisherCuts)
	kills := fmt.Sprintf("%d SIGKILL, %d SIGTERM", r.SIGKILLs, r.SIGTERMs)
	if r.FailOvers > 0 {
		kills += fmt.Sprintf(", %d failover of Redis", r.FailOvers)
	}
	line("kills", "%s", kills)
	line("reconnects", "%d recovered, %d not recovered", r.Recovered, r.Unrecovered)
	line("told", "%d deliveries that did not come, as the client was told", r.Told)
	line("lost", "%d", r.Lost)
	line("twice", "%d", r.Twice)
	line("disorder", "%d", r.Disorder)
	if others := r.Unpublished + r.Foreign + r.Garbled; others > 0 {
		line("others", "%d unpublished, %d of foreign rooms, %d garbled", r.Unpublished, r.Foreign, r.Garbled)
	}
	if r.Unsettled != "" {
		line("unsettled", "in the end, %s", r.Unsettled)
	}
	for _, e := range r.Examples {
		fmt.Fprintf(&b, "\n%s: client %d", e.Kind, e.Client)
		if e.Message != "" {
			fmt.Fprintf(&b, ", %s in %s", e.Message, e.Room)
		}
		fmt.Fprintf(&b, "\n  %s\n", e.Detail)
		for _, h := range e.History {
			fmt.Fprintf(&b, "    %s\n", h)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
