package twine_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/adapter"
	"github.com/twine-realtime/twine/recovery"
	"github.com/twine-realtime/twine/recovery/disk"
	"github.com/twine-realtime/twine/recovery/memory"
	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/engineio"
)

// eachStore runs a test with memory alone and with a file on disk.
func eachStore(t *testing.T, test func(t *testing.T, r *twine.Recovery)) {
	t.Run("memory", func(t *testing.T) {
		test(t, &twine.Recovery{Sessions: memory.NewSessions(memory.SessionsOptions{})})
	})
	t.Run("disk", func(t *testing.T) { test(t, onDisk(t, t.TempDir())) })
	for name, open := range moreStores {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// moreStores are those that need servers of their own, by build tags.
var moreStores = map[string]func(t testing.TB) *twine.Recovery{}

// adapterOf returns the adapter that goes with a store; nil: the one that stands alone.
var adapterOf = func(*twine.Recovery) adapter.Constructor { return nil }

// onDisk returns options with a store in dir.
func onDisk(t testing.TB, dir string) *twine.Recovery {
	store := openDisk(t, dir)
	return &twine.Recovery{Log: store.Log(), Sessions: store.Sessions()}
}

func openDisk(t testing.TB, dir string) *disk.Store {
	t.Helper()
	store, err := disk.Open(filepath.Join(dir, "history.db"), disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return store
}

// serveRecovery is serve with recovery. Sockets that are not recovered join "room"; "join" and "leave" do as they say.
func serveRecovery(t testing.TB, r *twine.Recovery, change ...func(*twine.Options)) *testServer {
	t.Helper()
	opts := &twine.Options{Recovery: r}
	for _, f := range change {
		f(opts)
	}
	srv := serve(t, opts)
	onSync(srv)
	srv.OnConnect(func(s *twine.Socket) {
		if !s.Recovered() && !s.Resumed() {
			s.Join("room")
		}
	})
	twine.Handle(srv, "join", func(_ context.Context, s *twine.Socket, room string) (string, error) {
		s.Join(room)
		return room, nil
	})
	twine.Handle(srv, "leave", func(_ context.Context, s *twine.Socket, room string) (string, error) {
		s.Leave(room)
		return room, nil
	})
	return srv
}

// withCookies makes clients known by the cookie "twineid".
func withCookies(r *twine.Recovery) *twine.Recovery {
	r.Identify = func(h *engineio.Handshake) string {
		request := http.Request{Header: h.Header()}
		if cookie, err := request.Cookie("twineid"); err == nil {
			return cookie.Value
		}
		return ""
	}
	return r
}

// fastPings lets pongs come often.
func fastPings(o *twine.Options) {
	o.Engine.PingInterval, o.Engine.PingTimeout = 25*time.Millisecond, 5*time.Second
}

var errDown = errors.New("store is down")

// gate decides what becomes of the calls of a store. It may fail them, before or after they took effect, or block them.
type gate struct {
	mu     sync.Mutex
	before func(ctx context.Context, op string) error
	after  func(ctx context.Context, op string) error
	calls  map[string]int
}

func (g *gate) set(before, after func(ctx context.Context, op string) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.before, g.after = before, after
}

// down makes the calls fail whose name is listed; none means all.
func (g *gate) down(ops ...string) {
	g.set(func(_ context.Context, op string) error {
		if len(ops) == 0 {
			return errDown
		}
		for _, o := range ops {
			if o == op {
				return errDown
			}
		}
		return nil
	}, nil)
}

func (g *gate) up() { g.set(nil, nil) }

func (g *gate) count(op string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls[op]
}

// blockAt makes the nth call of op from now wait, before or after it takes effect. It returns a channel that gets a
// value when it waits, and the function that lets it go on.
func (g *gate) blockAt(op string, n int, afterwards bool) (reached chan struct{}, letGo func()) {
	reached, open := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	block := func(ctx context.Context, name string) error {
		mu.Lock()
		if name == op {
			n--
		}
		hit := name == op && n == 0
		mu.Unlock()
		if !hit {
			return nil
		}
		close(reached)
		select {
		case <-open:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	if afterwards {
		g.set(nil, block)
	} else {
		g.set(block, nil)
	}
	return reached, sync.OnceFunc(func() { close(open) })
}

func (g *gate) pass(ctx context.Context, op string, call func() error) error {
	g.mu.Lock()
	before, after := g.before, g.after
	if g.calls == nil {
		g.calls = make(map[string]int)
	}
	g.calls[op]++
	g.mu.Unlock()
	if before != nil {
		if err := before(ctx, op); err != nil {
			return err
		}
	}
	err := call()
	if after != nil && err == nil {
		err = after(ctx, op)
	}
	return err
}

// gatedSessions and gatedLog are stores behind a gate.
type gatedSessions struct {
	recovery.Sessions
	*gate
}

func (g gatedSessions) Create(ctx context.Context, st recovery.State, token string) error {
	return g.pass(ctx, "create", func() error { return g.Sessions.Create(ctx, st, token) })
}

func (g gatedSessions) Store(ctx context.Context, st recovery.State, token string) error {
	return g.pass(ctx, "store", func() error { return g.Sessions.Store(ctx, st, token) })
}

func (g gatedSessions) Claim(ctx context.Context, pid, token string) (st recovery.State, previous string, err error) {
	err = g.pass(ctx, "claim", func() error {
		var err error
		st, previous, err = g.Sessions.Claim(ctx, pid, token)
		return err
	})
	return st, previous, err
}

func (g gatedSessions) Release(ctx context.Context, st recovery.State, token string, ttl time.Duration) error {
	return g.pass(ctx, "release", func() error { return g.Sessions.Release(ctx, st, token, ttl) })
}

func (g gatedSessions) Delete(ctx context.Context, pid, token string) error {
	return g.pass(ctx, "delete", func() error { return g.Sessions.Delete(ctx, pid, token) })
}

func (g gatedSessions) ByTwineID(ctx context.Context, id string) (states []recovery.State, err error) {
	err = g.pass(ctx, "bytwineid", func() error {
		var err error
		states, err = g.Sessions.ByTwineID(ctx, id)
		return err
	})
	return states, err
}

type gatedLog struct {
	recovery.HotLog
	*gate
}

func (g gatedLog) Append(ctx context.Context, ns string, entries []recovery.Entry) error {
	return g.pass(ctx, "append", func() error { return g.HotLog.Append(ctx, ns, entries) })
}

func (g gatedLog) Read(ctx context.Context, ns string, q recovery.Query) (page recovery.Page, err error) {
	err = g.pass(ctx, "read", func() error {
		var err error
		page, err = g.HotLog.Read(ctx, ns, q)
		return err
	})
	return page, err
}

// gated returns options whose sessions and hot log, the only tier, are behind gates.
func gated() (r *twine.Recovery, sessions, log *gate) {
	sessions, log = new(gate), new(gate)
	return &twine.Recovery{
		Hot:      gatedLog{memory.NewLog(memory.LogOptions{}), log},
		Sessions: gatedSessions{memory.NewSessions(memory.SessionsOptions{}), sessions},
		Timeout:  2 * time.Second,
	}, sessions, log
}

// members returns the ids of the selected sockets.
func members(t testing.TB, b twine.BroadcastOperator) (ids []string) {
	t.Helper()
	all, err := b.FetchSockets(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		ids = append(ids, s.ID())
	}
	return ids
}
