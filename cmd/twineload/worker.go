package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	"github.com/twine-realtime/twine/cmd/internal/sioclient"
)

const (
	// reportInterval is how often a worker reports.
	reportInterval = 500 * time.Millisecond
	// rampInterval is how often a worker looks whose turn it is to connect.
	rampInterval = 5 * time.Millisecond
	// subscribeTimeout bounds the wait for roomJoined.
	subscribeTimeout = 20 * time.Second
	// maxCauses bounds the list of failures.
	maxCauses = 50
)

// worker holds its share of the users. All of it belongs to the fleet's loop.
type worker struct {
	assignment
	fleet   *sioclient.Fleet
	out     chan update
	nodes   []netip.AddrPort
	sources []netip.Addr
	users   []user
	started int

	counts counts
	causes map[string]int64
	load   load
	lanes  []laneLog // once settling
	killed int       // the server that is killed, -1 for none

	live, late, ready, back, lag     *histogram
	timeline                         timeline // of deliveries
	firstCut, lastJoined, lastCaught int64
}

// user is a user's state. Times are microseconds after the start; 0 means not yet.
type user struct {
	tally
	started    int64 // when it began to connect
	joined     int64 // when it was last connected
	subscribed int64 // when it was first told so
	lost       int64 // when it last lost its connection
	waiting    bool  // for roomJoined
	moves      uint8 // how often it went to another server of a cluster
	session    int32 // counts connections
}

// work is the life of a worker process.
func work(ctx context.Context, in io.Reader, out io.Writer) error {
	orders := json.NewDecoder(in)
	var first order
	if err := orders.Decode(&first); err != nil || first.Assign == nil {
		return fmt.Errorf("worker: no assignment: %w", err)
	}
	if _, err := fileLimit(); err != nil {
		return err
	}
	ctx, cancel := context.WithDeadline(ctx, first.Assign.Deadline)
	defer cancel()
	w, err := newWorker(*first.Assign)
	if err != nil {
		return err
	}
	defer w.fleet.Close()

	written := make(chan error, 1)
	go func() {
		encoder := json.NewEncoder(out)
		for u := range w.out {
			if err := encoder.Encode(u); err != nil {
				cancel() // nobody listens any more
				written <- err
				for range w.out {
				}
				return
			}
		}
		written <- nil
	}()
	go func() {
		defer cancel() // this goroutine ends with the input, at the latest with the process
		for {
			var o order
			if orders.Decode(&o) != nil {
				return
			}
			w.fleet.Do(func() { w.obey(o) })
		}
	}()
	w.fleet.After(0, w.ramp)
	w.fleet.After(0, w.report)
	w.watchLag(time.Now())
	w.fleet.Run(ctx)
	close(w.out)
	return <-written
}

func newWorker(a assignment) (*worker, error) {
	w := &worker{
		killed: -1, assignment: a, out: make(chan update, 64), users: make([]user, a.share()), causes: make(map[string]int64),
		live: newHistogram(), late: newHistogram(), ready: newHistogram(), back: newHistogram(), lag: newHistogram(),
	}
	w.counts.Missing = -1
	for _, n := range a.Nodes {
		addr, err := netip.ParseAddrPort(n.Addr)
		if err != nil {
			return nil, err
		}
		w.nodes = append(w.nodes, addr)
	}
	for _, s := range a.Sources {
		source, err := netip.ParseAddr(s)
		if err != nil {
			return nil, err
		}
		w.sources = append(w.sources, source)
	}
	if len(w.users) == 0 {
		return nil, errors.New("worker: no users")
	}
	opts := sioclient.FleetOptions{Clients: len(w.users), Place: w.place, Backoff: a.Backoff, Watcher: w}
	if a.Cookie {
		opts.CookiePath = "/set-cookie"
	}
	var err error
	w.fleet, err = sioclient.NewFleet(opts)
	return w, err
}

// now returns microseconds since the start of the run.
func (w *worker) now() int64 { return time.Since(w.Start).Microseconds() }

// at returns the server that one of the worker's users is at, or goes to.
func (w *worker) at(i int) int {
	return (w.nodeOf(w.user(i)) + int(w.users[i].moves)) % len(w.nodes)
}

// moveOn sends a user whose server has failed it to another, as a load balancer would.
func (w *worker) moveOn(i int) {
	if w.Cluster {
		w.users[i].moves++
	}
}

func (w *worker) place(i, _ int) sioclient.Place {
	u, n := w.user(i), w.at(i)
	p := sioclient.Place{Addr: w.nodes[n], Host: w.Nodes[n].Host, Polling: w.polling(u)}
	if len(w.sources) > 0 {
		p.Source = w.sources[u%len(w.sources)]
	}
	return p
}

// ramp starts the users whose turn it is.
func (w *worker) ramp() {
	elapsed := time.Since(w.Start)
	for w.started < len(w.users) && w.fleet.Handshaking() < w.Parallel {
		if due := time.Duration(float64(w.Ramp) * float64(w.user(w.started)) / float64(w.Users)); due > elapsed {
			break
		}
		w.users[w.started].started = max(w.now(), 1)
		w.fleet.Connect(w.started)
		w.started++
	}
	if w.started < len(w.users) {
		w.fleet.After(rampInterval, w.ramp)
	}
}

// watchLag measures how late this process's loop is: a delivery may be seen as much too late as that.
func (w *worker) watchLag(due time.Time) {
	w.fleet.After(time.Until(due), func() {
		late := time.Since(due)
		record(w.lag, late.Microseconds())
		w.load.LagMax = max(w.load.LagMax, late)
		w.watchLag(time.Now().Add(lagInterval))
	})
}

// Joined implements sioclient.Watcher.
func (w *worker) Joined(i int, recovered bool) {
	u := &w.users[i]
	u.session++
	u.joined = w.now()
	w.counts.Connected++
	w.counts.Connects++
	if u.lost > 0 {
		record(w.back, u.joined-u.lost)
		w.lastJoined = u.joined
	}
	if recovered {
		w.counts.Recovered++
		return
	}
	if u.lost > 0 {
		w.counts.Anew++
	}
	w.subscribe(i)
}

func (w *worker) roomName(user int) string {
	return "load-" + w.RunID + "-" + strconv.Itoa(w.room(user))
}

func (w *worker) subscribe(i int) {
	u := &w.users[i]
	// The room's name needs no escaping.
	if err := w.fleet.Emit(i, []byte(`["subscribe","`+w.roomName(w.user(i))+`"]`)); err != nil {
		w.fail("subscribe: " + err.Error())
	}
	u.waiting = true
	session := u.session
	w.fleet.After(subscribeTimeout, func() {
		if u.waiting && u.session == session && w.fleet.Connected(i) {
			w.fail("subscribe: no answer in time")
			w.cut(i)
		}
	})
}

// cut breaks a connection that is there.
func (w *worker) cut(i int) {
	w.counts.Connected--
	w.users[i].lost = w.now()
	w.fleet.Cut(i)
}

var (
	joinedPrefix = []byte(`["roomJoined",`)
	gapPrefix    = []byte(`["twine:gap"`)
)

// Event implements sioclient.Watcher.
func (w *worker) Event(i int, data []byte) {
	u := &w.users[i]
	now := w.now()
	if s, ok := parseMessage(data); ok {
		if s.room != w.room(w.user(i)) {
			w.counts.Foreign++
			return
		}
		if !u.add(s.number) {
			return
		}
		w.counts.Received++
		if u.lost > 0 && s.due < u.joined {
			w.lastCaught = now
			record(w.late, now-s.due)
		} else {
			record(w.live, now-s.due)
			w.timeline.record(s.due, now-s.due)
		}
		return
	}
	switch {
	case bytes.HasPrefix(data, joinedPrefix):
		u.waiting = false
		if u.subscribed == 0 {
			u.subscribed = now
			w.counts.Ready++
			record(w.ready, now-u.started)
		}
	case bytes.HasPrefix(data, gapPrefix):
		w.counts.Gaps++
	default:
		w.counts.Foreign++
	}
}

// Failed implements sioclient.Watcher.
func (w *worker) Failed(i int, err *sioclient.ConnectError) {
	w.counts.FailedTries++
	if w.at(i) != w.killed {
		w.fail(err.Error())
	}
	w.moveOn(i)
}

// Lost implements sioclient.Watcher.
func (w *worker) Lost(i int, err error) {
	w.counts.Connected--
	w.users[i].lost = w.now()
	if w.at(i) == w.killed {
		w.counts.Killed++
	} else {
		w.counts.Lost++
		w.fail("lost: " + err.Error())
	}
	w.moveOn(i)
}

func (w *worker) fail(cause string) {
	if _, known := w.causes[cause]; !known && len(w.causes) >= maxCauses {
		cause = "others"
	}
	w.causes[cause]++
}

func (w *worker) obey(o order) {
	switch {
	case o.Cut != nil:
		w.cutMany(*o.Cut)
	case o.Kill != nil:
		w.killed = o.Kill.Node
		w.counts.Told = 1
	case o.Settle != nil:
		w.lanes = o.Settle
	case o.Finish:
		u := w.update()
		u.Final = w.final()
		w.out <- u // the leader waits for it
	}
}

func (w *worker) cutMany(o cutOrder) {
	var chosen []int
	for i := range w.users {
		if w.fleet.Connected(i) && (o.Node < 0 || w.at(i) == o.Node) {
			chosen = append(chosen, i)
		}
	}
	rand.Shuffle(len(chosen), func(a, b int) { chosen[a], chosen[b] = chosen[b], chosen[a] })
	chosen = chosen[:int(o.Share*float64(len(chosen))+0.5)]
	for k, i := range chosen {
		w.fleet.After(o.Within*time.Duration(k)/time.Duration(len(chosen)), func() {
			if w.fleet.Connected(i) {
				w.counts.Cut++
				if w.firstCut == 0 {
					w.firstCut = w.now()
				}
				w.cut(i)
			}
		})
	}
}

// report is sent again and again.
func (w *worker) report() {
	w.fleet.After(reportInterval, w.report)
	select {
	case w.out <- w.update():
	default: // the next one has it all
	}
}

func (w *worker) update() update {
	w.counts.Started = w.started
	if w.lanes != nil {
		w.counts.Missing = 0
		for i := range w.users {
			w.counts.Missing += w.missing(i)
		}
	}
	w.load.CPU = ownCPU()
	u := update{Counts: w.counts, Load: w.load}
	w.load.LagMax = 0
	return u
}

// missing returns how much a user still lacks; nothing if it never subscribed, which is another failure.
func (w *worker) missing(i int) int64 {
	u := &w.users[i]
	if u.subscribed == 0 {
		return 0
	}
	room := w.room(w.user(i))
	return int64(u.tally.missing(w.lanes[room%len(w.lanes)].room(room), u.subscribed))
}

func (w *worker) final() *finalReport {
	r := &finalReport{
		Causes: w.causes, FirstCut: w.firstCut, LastJoined: w.lastJoined, LastCaught: w.lastCaught, Caught: w.late.TotalCount(),
		Live: encode(w.live), Late: encode(w.late), Ready: encode(w.ready), Back: encode(w.back), Lag: encode(w.lag),
		Timeline: w.timeline.encode(),
	}
	for i := range w.users {
		u := &w.users[i]
		r.Expected += int64(u.received)
		if w.lanes != nil {
			r.Expected += w.missing(i)
		}
		r.Doubled += int64(u.doubled)
		r.OutOfOrder += int64(u.outOfOrder)
		if u.received == 0 {
			r.Nothing++
		}
		if u.subscribed == 0 {
			r.NeverReady++
		}
	}
	return r
}
