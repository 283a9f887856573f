package main

import (
	"fmt"
	"os"
	"time"
)

// progress writes a line about a run again and again: over the last one on a terminal, and less often elsewhere.
type progress struct {
	out      *os.File
	terminal bool
	every    time.Duration
	last     time.Time
	began    time.Time
	received int64         // at last
	lag      time.Duration // the worst since last
	open     bool          // the cursor is at the end of a line that is not ended
}

func newProgress(out *os.File) *progress {
	p := &progress{out: out, every: 5 * time.Second}
	if info, err := out.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		p.terminal, p.every = true, time.Second
	}
	return p
}

func (p *progress) say(format string, args ...any) {
	p.end()
	fmt.Fprintf(p.out, format+"\n", args...)
}

// show writes the line if it is time for one.
func (p *progress) show(r *session, phase string, c status) {
	now := time.Now()
	p.lag = max(p.lag, c.lag)
	if now.Sub(p.last) < p.every {
		return
	}
	if p.began.IsZero() {
		p.began, p.last = now, now.Add(-p.every)
	}
	line := fmt.Sprintf("%4.0fs %-7s %d/%d users, %d failed tries, %d cut, %d lost", now.Sub(p.began).Seconds(), phase, c.Connected,
		r.settings.Users, c.FailedTries, c.Cut, c.Lost)
	if r.publisher != nil {
		line += fmt.Sprintf(", %d published, %d received (%.0f/s)", r.publisher.accepted.Load(), c.Received,
			float64(c.Received-p.received)/now.Sub(p.last).Seconds())
	}
	if c.Missing >= 0 {
		line += fmt.Sprintf(", %d missing", c.Missing)
	}
	line += fmt.Sprintf(", lag %d ms", p.lag.Milliseconds())
	p.last, p.received, p.lag = now, c.Received, 0
	if p.terminal {
		fmt.Fprintf(p.out, "\r\x1b[K%s", line)
		p.open = true
		return
	}
	fmt.Fprintln(p.out, line)
}

// end ends the line.
func (p *progress) end() {
	if p.open {
		fmt.Fprintln(p.out)
		p.open = false
	}
}
