package recoverytest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twine-realtime/twine/recovery"
)

// SessionsUnderTest is a Sessions over storage of its own, empty at first.
type SessionsUnderTest struct {
	Sessions recovery.Sessions
	// Reopen closes the sessions and opens them again over the same storage.
	// Nil: they do not outlive their process.
	Reopen func() recovery.Sessions
}

// Hold is what the sessions under test have to be configured with.
const Hold = time.Hour

// Sessions runs the suite. open is called for each test; what it returns has to
// take the time from now and to hold sessions for Hold. The test closes it.
func Sessions(t *testing.T, open func(t testing.TB, now func() time.Time) SessionsUnderTest) {
	t.Run("Histories", func(t *testing.T) { sessionHistories(t, open) })
	t.Run("KeepsEveryField", func(t *testing.T) { sessionFields(t, open) })
	t.Run("ConcurrentClaims", func(t *testing.T) { sessionClaims(t, open) })
	t.Run("SecondCut", func(t *testing.T) { sessionSecondCut(t, open) })
	t.Run("BadNames", func(t *testing.T) { sessionBadNames(t, open) })
	t.Run("Closed", func(t *testing.T) { sessionsClosed(t, open) })
}

// clock is a wall clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.UnixMilli(1_700_000_000_000)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type modelSession struct {
	state recovery.State
	token string
}

// sameState compares states; times of different locations may be the same.
func sameState(a, b recovery.State) bool {
	if !a.Disconnected.Equal(b.Disconnected) || !a.Expires.Equal(b.Expires) {
		return false
	}
	a.Disconnected, a.Expires, b.Disconnected, b.Expires = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	if len(a.Rooms) == 0 && len(b.Rooms) == 0 {
		a.Rooms, b.Rooms = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

// sessionHistories compares sessions with a model over random histories.
func sessionHistories(t *testing.T, open func(t testing.TB, now func() time.Time) SessionsUnderTest) {
	rapid.Check(t, func(rt *rapid.T) {
		time0 := newClock()
		u := open(t, time0.Now)
		s := u.Sessions
		defer func() { _ = s.Close() }()
		model := make(map[string]*modelSession)
		tokens := 0
		pid := func() string { return rapid.SampledFrom([]string{"p1", "p2", "p3"}).Draw(rt, "pid") }
		state := func(pid string) recovery.State {
			return recovery.State{
				PID: pid, SID: "sid" + pid, Namespace: "/",
				Rooms:    rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b"}), 0, 2).Draw(rt, "rooms"),
				Position: recovery.Offset{MS: rapid.Uint64Range(1, 9).Draw(rt, "position")},
				TwineID:  rapid.SampledFrom([]string{"", "t1", "t2"}).Draw(rt, "twine"),
			}
		}
		// Mostly the newest token of the session, or one that was superseded.
		token := func(m *modelSession) string {
			if m == nil || rapid.IntRange(0, 3).Draw(rt, "stale") == 0 {
				return fmt.Sprint("token", rapid.IntRange(1, tokens+1).Draw(rt, "token"))
			}
			return m.token
		}
		expect := func(rt *rapid.T, what string, err, want error) bool {
			if want == nil && err != nil || want != nil && !errors.Is(err, want) {
				rt.Fatalf("%s: %v, want %v", what, err, want)
			}
			return want == nil
		}
		owned := func(m *modelSession, token string) error {
			switch {
			case m == nil:
				return recovery.ErrUnknownSession
			case m.state.Owner != token:
				return recovery.ErrSuperseded
			}
			return nil
		}
		hold := func(m *modelSession, st recovery.State, token string) {
			st.Owner, st.Disconnected, st.Expires = token, time.Time{}, time0.Now().Add(Hold)
			m.state, m.token = st, token
		}
		actions := map[string]func(*rapid.T){
			"create": func(rt *rapid.T) {
				p := pid()
				st := state(p)
				tokens++
				token := fmt.Sprint("token", tokens)
				var want error
				if model[p] != nil {
					want = recovery.ErrSessionExists
				}
				if expect(rt, "create", s.Create(ctx, st, token), want) {
					model[p] = new(modelSession)
					hold(model[p], st, token)
				}
			},
			"store": func(rt *rapid.T) {
				p := pid()
				st, token := state(p), token(model[p])
				if expect(rt, "store", s.Store(ctx, st, token), owned(model[p], token)) {
					hold(model[p], st, token)
				}
			},
			"claim": func(rt *rapid.T) {
				p := pid()
				tokens++
				token := fmt.Sprint("token", tokens)
				m := model[p]
				var want error
				switch {
				case m == nil:
					want = recovery.ErrUnknownSession
				case !time0.Now().Before(m.state.Expires):
					want = recovery.ErrExpired
				}
				st, previous, err := s.Claim(ctx, p, token)
				if !expect(rt, "claim", err, want) {
					return
				}
				old := m.state
				hold(m, m.state, token)
				wanted := m.state
				wanted.Disconnected = old.Disconnected
				if previous != old.Owner || !sameState(st, wanted) {
					rt.Fatalf("claimed %+v from %q, want %+v from %q", st, previous, wanted, old.Owner)
				}
			},
			"release": func(rt *rapid.T) {
				p := pid()
				st, token := state(p), token(model[p])
				ttl := time.Duration(rapid.IntRange(1, 60).Draw(rt, "ttl")) * time.Minute
				if expect(rt, "release", s.Release(ctx, st, token, ttl), owned(model[p], token)) {
					st.Disconnected, st.Expires = time0.Now(), time0.Now().Add(ttl)
					model[p].state = st
				}
			},
			"delete": func(rt *rapid.T) {
				p := pid()
				m, token := model[p], token(model[p])
				var want error
				if m != nil && m.token != token {
					want = recovery.ErrSuperseded
				}
				if expect(rt, "delete", s.Delete(ctx, p, token), want) {
					delete(model, p)
				}
			},
			"time passes": func(rt *rapid.T) {
				time0.advance(time.Duration(rapid.IntRange(1, 40).Draw(rt, "minutes")) * time.Minute)
			},
			"expire": func(rt *rapid.T) {
				now := time0.Now()
				if err := s.Expire(ctx, now); err != nil {
					rt.Fatal(err)
				}
				maps.DeleteFunc(model, func(_ string, m *modelSession) bool { return m.state.Expires.Before(now) })
			},
			"": func(rt *rapid.T) {
				for _, twine := range []string{"t1", "t2", "t", ""} {
					got, err := s.ByTwineID(ctx, twine)
					if err != nil {
						rt.Fatal(err)
					}
					var want []recovery.State
					for _, m := range model {
						if twine != "" && m.state.TwineID == twine && time0.Now().Before(m.state.Expires) {
							want = append(want, m.state)
						}
					}
					recovery.SortStates(want)
					if !slices.EqualFunc(got, want, sameState) {
						rt.Fatalf("sessions of %q: %+v, want %+v", twine, got, want)
					}
				}
			},
		}
		if u.Reopen != nil {
			actions["reopen"] = func(*rapid.T) { s = u.Reopen() }
		}
		rt.Repeat(actions)
	})
}

func sessionFields(t *testing.T, open func(t testing.TB, now func() time.Time) SessionsUnderTest) {
	time0 := newClock()
	u := open(t, time0.Now)
	s := u.Sessions
	defer func() { _ = s.Close() }()
	st := recovery.State{
		PID: "p", SID: "s", Namespace: "/chat", Rooms: []string{"a", "\xff", "", strings.Repeat("r", 5000)},
		Data: json.RawMessage(`{"user":"ü"}`), Position: recovery.Offset{MS: 1<<64 - 1, Seq: 7}, TwineID: "t",
		Owner: "not me", Disconnected: time.Unix(1, 0), Expires: time.Unix(2, 0),
	}
	if err := s.Create(ctx, st, "one"); err != nil {
		t.Fatal(err)
	}
	// What is stored is a copy.
	data := st.Data
	st.Data = slices.Clone(data)
	data[2] = 'X'
	if u.Reopen != nil {
		s = u.Reopen()
	}
	got, previous, err := s.Claim(ctx, "p", "two")
	st.Owner, st.Disconnected, st.Expires = "two", time.Time{}, time0.Now().Add(Hold)
	if err != nil || previous != "one" || !sameState(got, st) {
		t.Errorf("claimed %+v from %q: %v; want %+v", got, previous, err, st)
	}
}

// Of any number of connections that claim a session at the same time, the last
// one has it, and each other one is named to exactly one successor.
func sessionClaims(t *testing.T, open func(t testing.TB, now func() time.Time) SessionsUnderTest) {
	s := open(t, newClock().Now).Sessions
	defer s.Close()
	st := recovery.State{PID: "p", Namespace: "/"}
	if err := s.Create(ctx, st, "first"); err != nil {
		t.Fatal(err)
	}
	const n = 20
	previous := make([]string, n)
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() {
			var err error
			if _, previous[i], err = s.Claim(ctx, "p", fmt.Sprint("t", i)); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	succeeded := 0
	for i := range n {
		switch err := s.Store(ctx, st, fmt.Sprint("t", i)); {
		case err == nil:
			succeeded++
			if slices.Contains(previous, fmt.Sprint("t", i)) {
				t.Errorf("t%d stored although it was superseded", i)
			}
		case !errors.Is(err, recovery.ErrSuperseded):
			t.Error(err)
		}
	}
	slices.Sort(previous)
	if succeeded != 1 || len(slices.Compact(previous)) != n {
		t.Errorf("%d owners; superseded were %v", succeeded, previous)
	}
}

// A connection that is cut between its claim and its first store can be restored
// again, and cannot disturb its successor.
func sessionSecondCut(t *testing.T, open func(t testing.TB, now func() time.Time) SessionsUnderTest) {
	s := open(t, newClock().Now).Sessions
	defer s.Close()
	at := func(ms uint64) recovery.State {
		return recovery.State{PID: "p", Namespace: "/", Position: recovery.Offset{MS: ms}}
	}
	if err := s.Create(ctx, at(1), "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Release(ctx, at(2), "a", time.Minute); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"b", "c", "d"} {
		st, _, err := s.Claim(ctx, "p", token)
		if err != nil || st.Position.MS != 2 {
			t.Fatalf("claim by %s: %+v, %v", token, st, err)
		}
	}
	for _, token := range []string{"a", "b", "c"} {
		for what, err := range map[string]error{
			"store":   s.Store(ctx, at(9), token),
			"release": s.Release(ctx, at(9), token, time.Minute),
			"delete":  s.Delete(ctx, "p", token),
		} {
			if !errors.Is(err, recovery.ErrSuperseded) {
				t.Errorf("%s by %s: %v", what, token, err)
			}
		}
	}
	if err := s.Store(ctx, at(3), "d"); err != nil {
		t.Error(err)
	}
	if st, previous, err := s.Claim(ctx, "p", "e"); err != nil || previous != "d" || st.Position.MS != 3 {
		t.Errorf("%+v from %q: %v", st, previous, err)
	}
}

func sessionBadNames(t *testing.T, open func(t testing.TB, now func() time.Time) SessionsUnderTest) {
	s := open(t, newClock().Now).Sessions
	defer s.Close()
	for _, pid := range []string{"", "nobody", "\x00", "\xff\xfe", strings.Repeat("p", 1<<20)} {
		if _, _, err := s.Claim(ctx, pid, "t"); !errors.Is(err, recovery.ErrUnknownSession) {
			t.Errorf("claim of %.10q: %v", pid, err)
		}
		if err := s.Delete(ctx, pid, "t"); err != nil {
			t.Errorf("delete of %.10q: %v", pid, err)
		}
		if list, err := s.ByTwineID(ctx, pid); err != nil || len(list) != 0 {
			t.Errorf("sessions of %.10q: %v, %v", pid, list, err)
		}
	}
	if err := s.Create(ctx, recovery.State{PID: "p"}, ""); !errors.Is(err, recovery.ErrSuperseded) {
		t.Errorf("created without a token: %v", err)
	}
	if err := s.Create(ctx, recovery.State{PID: "p"}, "t"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Claim(ctx, "p", ""); !errors.Is(err, recovery.ErrSuperseded) {
		t.Errorf("claimed without a token: %v", err)
	}
}

func sessionsClosed(t *testing.T, open func(t testing.TB, now func() time.Time) SessionsUnderTest) {
	s := open(t, newClock().Now).Sessions
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	_, _, claimed := s.Claim(ctx, "p", "t")
	_, listed := s.ByTwineID(ctx, "t")
	for what, err := range map[string]error{
		"Create": s.Create(ctx, recovery.State{PID: "p"}, "t"), "Store": s.Store(ctx, recovery.State{PID: "p"}, "t"),
		"Claim": claimed, "Release": s.Release(ctx, recovery.State{PID: "p"}, "t", time.Minute),
		"Delete": s.Delete(ctx, "p", "t"), "ByTwineID": listed, "Expire": s.Expire(ctx, time.Now()),
	} {
		if !errors.Is(err, recovery.ErrClosed) {
			t.Errorf("%s of closed sessions: %v", what, err)
		}
	}
}
