package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
)

// session is one run of the tool.
type session struct {
	settings  *settings
	progress  *progress
	servers   *servers // nil unless --local or --cluster
	crew      *crew
	publisher *publisher // nil if nothing is published
	start     time.Time
	killed    time.Time // when --kill-after did it
	last      status
	phases    []phase
}

// phase is a part of a run, with what it cost.
type phase struct {
	Name     string  `json:"name"`
	Seconds  float64 `json:"seconds"`
	Machine  float64 `json:"machine_cores"`     // processors kept busy, by anyone
	Leader   float64 `json:"leader_cores"`      // by this tool's first process
	Workers  float64 `json:"workers_cores"`     // by its workers together
	Busiest  float64 `json:"worker_cores_most"` // by the worker with the most
	LagMax   float64 `json:"worker_lag_max_ms"`
	Servers  float64 `json:"servers_cores,omitempty"`
	Redis    float64 `json:"redis_cores,omitempty"`
	ServerUS float64 `json:"-"` // microseconds of the servers
	RSS      []int64 `json:"servers_rss,omitempty"`
	Connects int64   `json:"connects"`
	Received int64   `json:"received"`
}

// snapshot is what was used up to a moment.
type snapshot struct {
	at      time.Time
	machine time.Duration
	leader  time.Duration
	servers []usage
	redis   time.Duration
	status  status
}

// stretch is how much longer than asked for a phase may take before the tool gives up.
const stretch = time.Minute

func run(ctx context.Context, s *settings, p *progress) (result *result, err error) {
	defer p.end()
	r := &session{settings: s, progress: p}
	limit := s.Ramp + s.Hold + s.PublishRamp + s.Publish + 3*(s.Settle+stretch) + s.PostTimeout
	if s.started() {
		p.say("building and starting %d servers", s.servers())
		if r.servers, err = startServers(ctx, s); err != nil {
			return nil, err
		}
		defer func() {
			if stopErr := r.servers.stop(s.Keep); err == nil {
				err = stopErr
			}
		}()
		s.APIKey = r.servers.key
		for _, server := range r.servers.processes {
			s.nodes = append(s.nodes, server.node)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %s", limit))
	defer cancel()
	r.start = time.Now().Add(500 * time.Millisecond)
	runID := strings.ToLower(rand.Text()[:10])
	if s.Publish > 0 {
		r.publisher = newPublisher(publishing{
			nodes: s.nodes, cluster: s.clustered(), key: s.APIKey, runID: runID, rooms: s.Rooms, batch: s.Batch, unkeyed: !s.Keys,
			interval: time.Duration(float64(time.Second) / s.Rate), count: s.messages(), size: s.Size,
			concurrency: s.Publishers, timeout: s.PostTimeout, start: r.start, ramp: s.PublishRamp,
		})
		if err := r.publisher.preflight(ctx); err != nil {
			return nil, err
		}
		if s.Batch > 1 {
			p.say("publishing up to %d messages, of different rooms, in each request to /v1/publish", s.Batch)
		}
	}
	r.crew, err = startCrew(ctx, assignment{
		Workers: s.Workers, Users: s.Users, Nodes: s.nodes, Cluster: s.clustered(), Rooms: s.Rooms, RunID: runID,
		Transport: s.Transport, Cookie: s.Cookie, Sources: s.sources, Start: r.start, Ramp: s.Ramp, Parallel: s.Parallel,
		Backoff: s.Backoff, Deadline: time.Now().Add(limit),
	})
	if err != nil {
		return nil, err
	}
	defer r.crew.stop()
	if err := r.phased(ctx); err != nil {
		return nil, err
	}
	finals, err := r.crew.finish(ctx)
	if err != nil {
		return nil, err
	}
	return r.result(finals)
}

// phased goes through the phases.
func (r *session) phased(ctx context.Context) error {
	s := r.settings
	published := make(chan struct{})
	publish := func() {
		go func() {
			defer close(published)
			r.publisher.run(ctx)
		}()
	}
	if r.publisher == nil {
		close(published)
	} else if s.EarlyPost {
		publish()
	}
	err := r.phase(ctx, "ramp", time.Until(r.start.Add(s.Ramp))+s.Settle, func(c status) bool { return c.Ready == s.Users })
	if err != nil {
		return err
	}
	if s.Hold > 0 {
		if err := r.phase(ctx, "hold", s.Hold, func(status) bool { return false }); err != nil {
			return err
		}
	}
	if r.publisher != nil {
		if !s.EarlyPost {
			publish()
		}
		if err := r.publishing(ctx, published); err != nil {
			return err
		}
		// Handed over when nothing changes any more.
		if err := r.crew.order(order{Settle: r.publisher.logs}); err != nil {
			return err
		}
	}
	return r.phase(ctx, "settle", s.Settle, func(c status) bool {
		return c.Connected == s.Users && (r.publisher == nil || c.Missing == 0)
	})
}

// publishing waits until all is published, and cuts on the way.
func (r *session) publishing(ctx context.Context, published <-chan struct{}) error {
	s := r.settings
	began := time.Now()
	cut, told := s.Cut == 0, s.KillAfter == 0
	var failed error
	err := r.phase(ctx, "publish", s.PublishRamp+s.Publish+s.PostTimeout+stretch, func(c status) bool {
		if !cut && time.Since(began) >= s.CutAfter {
			cut = true
			failed = r.crew.order(order{Cut: &cutOrder{Share: s.Cut, Node: s.CutNode, Within: s.CutWithin}})
		}
		if !told && time.Since(began) >= s.KillAfter {
			told = true
			failed = errors.Join(failed, r.crew.order(order{Kill: &killOrder{s.KillNode}}))
		}
		if told && s.KillAfter > 0 && r.killed.IsZero() && c.Told == s.Workers {
			r.killed = time.Now()
			r.servers.processes[s.KillNode].kill()
		}
		select {
		case <-published:
			return true
		default:
			return failed != nil
		}
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	select {
	case <-published:
	default:
		return errors.New("the publisher did not end")
	}
	if s.KillAfter > 0 && r.killed.IsZero() {
		return errors.New("--kill-after: publishing ended before the server was killed; publish for longer")
	}
	return nil
}

// phase waits until done, or for as long as the limit, and notes what that time cost.
func (r *session) phase(ctx context.Context, name string, limit time.Duration, done func(status) bool) error {
	before, err := r.snapshot()
	if err != nil {
		return err
	}
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	deadline := time.Now().Add(limit)
	var lag time.Duration
	for {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		c, err := r.crew.status()
		if err := errors.Join(err, r.servers.alive()); err != nil {
			return err
		}
		lag = max(lag, c.lag)
		r.last = c
		r.progress.show(r, name, c)
		if done(c) || !time.Now().Before(deadline) {
			break
		}
	}
	after, err := r.snapshot()
	if err != nil {
		return err
	}
	r.phases = append(r.phases, compare(name, before, after, lag))
	return nil
}

func (r *session) snapshot() (s snapshot, err error) {
	s = snapshot{at: time.Now(), machine: machineBusy(), leader: ownCPU(), servers: r.servers.usage(), redis: r.servers.redisCPU()}
	s.status, err = r.crew.status()
	return s, err
}

func compare(name string, from, to snapshot, lag time.Duration) phase {
	elapsed := to.at.Sub(from.at)
	cores := func(d time.Duration) float64 { return d.Seconds() / elapsed.Seconds() }
	p := phase{
		Name: name, Seconds: elapsed.Seconds(), LagMax: float64(lag.Microseconds()) / 1000,
		Machine: cores(to.machine - from.machine), Leader: cores(to.leader - from.leader), Workers: cores(to.status.cpu - from.status.cpu),
		Connects: to.status.Connects - from.status.Connects, Received: to.status.Received - from.status.Received,
	}
	for i := range to.status.each {
		p.Busiest = max(p.Busiest, cores(to.status.each[i]-from.status.each[i]))
	}
	if len(from.servers) != len(to.servers) {
		return p
	}
	var spent time.Duration
	for i := range to.servers {
		spent += max(to.servers[i].CPU-from.servers[i].CPU, 0) // one that was killed meanwhile has nothing to show
		p.RSS = append(p.RSS, to.servers[i].RSS)
	}
	p.Redis = cores(to.redis - from.redis)
	p.Servers, p.ServerUS = cores(spent), float64(spent.Microseconds())
	return p
}
