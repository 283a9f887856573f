package adaptertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/adapter"
)

// patience is how long anything may take before a test gives up.
const patience = 10 * time.Second

// Factory makes the adapter under test, which the suite closes.
type Factory func(t *testing.T, h adapter.Host) adapter.Adapter

// Run tests an adapter. What is said of broadcasts holds for a server's own sockets whether the adapter reaches further
// or not.
func Run(t *testing.T, factory Factory) {
	for _, test := range []struct {
		name string
		f    func(t *testing.T, a adapter.Adapter)
	}{
		{"Rooms", testRooms},
		{"Selection", testSelection},
		{"Replace", testReplace},
		{"Requests", testRequests},
		{"Acks", testAcks},
		{"JoinRacesLastLeave", testJoinRacesLastLeave},
		{"JoinRacesEnd", testJoinRacesEnd},
		{"Order", testOrder},
		{"NothingAfterTheEnd", testNothingAfterTheEnd},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := factory(t, new(Host))
			t.Cleanup(func() {
				if err := a.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			test.f(t, a)
		})
	}
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

func testRooms(t *testing.T, a adapter.Adapter) {
	m := NewMember("m")
	if a.AddAll(m, "early") || a.SocketRooms("m") != nil || a.Member("m") != nil {
		t.Error("a stranger was let in")
	}
	a.Add(m, "m", "one", "one")
	if !a.AddAll(m, "two", "one") {
		t.Error("a member was not let in")
	}
	if got := sorted(a.SocketRooms("m")); !slices.Equal(got, []string{"m", "one", "two"}) {
		t.Errorf("rooms %v", got)
	}
	if a.Member("m") != adapter.Member(m) {
		t.Error("the member is not known")
	}
	a.Del(m, "one", "never joined")
	if got := a.Rooms(); !maps.Equal(got, map[string]int{"m": 1, "two": 1}) {
		t.Errorf("rooms %v", got)
	}
	a.DelAll(m)
	a.DelAll(m)
	if a.AddAll(m, "late") || len(a.Rooms()) > 0 || a.SocketRooms("m") != nil || a.Member("m") != nil {
		t.Errorf("something is left: %v", a.Rooms())
	}
}

func testSelection(t *testing.T, a adapter.Adapter) {
	members := map[string]*Member{}
	for id, rooms := range map[string][]string{"a": {"x", "y"}, "b": {"x"}, "c": {"y", "z"}, "d": nil} {
		members[id] = NewMember(id)
		a.Add(members[id], append(rooms, id)...)
	}
	for i, test := range []struct {
		o    adapter.Options
		want string
	}{
		{adapter.Options{}, "abcd"},
		{adapter.Options{Except: []string{"x"}}, "cd"},
		{adapter.Options{Except: []string{"a", "z", "nowhere"}}, "bd"},
		{adapter.Options{Rooms: []string{"x"}}, "ab"},
		{adapter.Options{Rooms: []string{"x", "y", "x"}}, "abc"},
		{adapter.Options{Rooms: []string{"nowhere"}}, ""},
		{adapter.Options{Rooms: []string{"nowhere", "z"}}, "c"},
		{adapter.Options{Rooms: []string{"x", "y"}, Except: []string{"z", "b"}}, "a"},
		{adapter.Options{Rooms: []string{"x"}, Except: []string{"x"}}, ""},
		{adapter.Options{Rooms: []string{"d"}}, "d"},
	} {
		data := fmt.Sprintf("[%d]", i)
		if err := a.Broadcast(testContext(t), event(data), test.o); err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, id := range test.want {
			want = append(want, string(id))
			m := members[string(id)]
			eventually(t, "delivery", func() bool { return slices.Contains(m.Got(), data) })
		}
		for id, m := range members {
			n := 0
			for _, got := range m.Got() {
				if got == data {
					n++
				}
			}
			if selected := slices.Contains(want, id); selected && n != 1 || !selected && n != 0 {
				t.Errorf("%+v: %s got it %d times", test.o, id, n)
			}
		}
		ids, err := a.Sockets(testContext(t), test.o)
		if err != nil || !slices.Equal(sorted(ids), want) {
			t.Errorf("%+v: sockets %v, %v, want %v", test.o, ids, err, want)
		}
		if got := a.Members(test.o); len(got) != len(want) {
			t.Errorf("%+v: %d members, want %d", test.o, len(got), len(want))
		}
	}
}

// A session that is taken over has one member after the other with the same id.
func testReplace(t *testing.T, a adapter.Adapter) {
	old, replacement := NewMember("m"), NewMember("m")
	a.Add(old, "m", "old", "both")
	a.Add(replacement, "m", "both")
	if a.AddAll(old, "ghost") {
		t.Error("the old one is still a member")
	}
	a.Del(old, "both")
	a.DelAll(old)
	if got := a.Rooms(); !maps.Equal(got, map[string]int{"m": 1, "both": 1}) {
		t.Errorf("rooms %v", got)
	}
	if a.Member("m") != adapter.Member(replacement) {
		t.Error("the replacement is gone")
	}
}

func testRequests(t *testing.T, a adapter.Adapter) {
	ctx := testContext(t)
	m1, m2 := NewMember("1"), NewMember("2")
	a.Add(m1, "1", "x")
	a.Add(m2, "2")
	if err := a.AddSockets(ctx, adapter.Options{Except: []string{"x"}}, []string{"y", "z"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the rooms are joined", func() bool { return len(a.SocketRooms("2")) == 3 })
	if err := a.DelSockets(ctx, adapter.Options{}, []string{"z"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the room is left", func() bool { return len(a.SocketRooms("2")) == 2 })
	all, err := a.FetchSockets(ctx, adapter.Options{Rooms: []string{"y"}})
	if err != nil || len(all) != 1 || all[0].ID != "2" || !slices.Equal(sorted(all[0].Rooms), []string{"2", "y"}) ||
		string(all[0].Data) != `"2"` || string(all[0].Handshake) != `{}` {
		t.Errorf("fetched %+v, %v", all, err)
	}
	if err := a.DisconnectSockets(ctx, adapter.Options{Rooms: []string{"x"}}, true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one is disconnected", func() bool { return slices.Equal(m1.wasDisconnected(), []bool{true}) })
	if len(m2.wasDisconnected()) > 0 {
		t.Error("the other one was disconnected too")
	}
	if n, err := a.ServerCount(ctx); n < 1 || err != nil {
		t.Errorf("%d servers, %v", n, err)
	}
}

type acks struct {
	mu      sync.Mutex
	answers []string
}

func (a *acks) Answer(member string, _ []byte, _ [][]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers = append(a.answers, member)
}

func (a *acks) Lost(string) {}

func (a *acks) sorted() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return sorted(a.answers)
}

func testAcks(t *testing.T, a adapter.Adapter) {
	m1, m2 := NewMember("1"), NewMember("2")
	a.Add(m1, "x")
	a.Add(m2, "x")
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	p, got := event(`["q"]`), new(acks)
	n, err := a.BroadcastWithAck(ctx, p, adapter.Options{Rooms: []string{"x"}}, got)
	if err != nil || n != 2 {
		t.Fatalf("%d answers expected, %v", n, err)
	}
	eventually(t, "the answers", func() bool { return slices.Equal(got.sorted(), []string{"1", "2"}) })
	if p.HasID {
		t.Error("the caller's packet was changed")
	}
	if len(m1.forgot()) > 0 {
		t.Error("forgotten too early")
	}
	cancel()
	eventually(t, "the question is forgotten", func() bool { return len(m1.forgot()) == 1 && len(m2.forgot()) == 1 })
	if n, err := a.BroadcastWithAck(testContext(t), p, adapter.Options{Rooms: []string{"y"}}, got); n != 0 || err != nil {
		t.Errorf("%d answers expected of nobody, %v", n, err)
	}
}

// The last member leaves a room while another joins: the join must not be lost.
func testJoinRacesLastLeave(t *testing.T, a adapter.Adapter) {
	leaver, joiner := NewMember("leaver"), NewMember("joiner")
	a.Add(leaver)
	a.Add(joiner)
	for range 2000 {
		a.AddAll(leaver, "room")
		var wg sync.WaitGroup
		wg.Go(func() { a.Del(leaver, "room") })
		wg.Go(func() { a.AddAll(joiner, "room") })
		wg.Wait()
		if got := a.Rooms(); !maps.Equal(got, map[string]int{"room": 1}) {
			t.Fatalf("rooms %v", got)
		}
		if members := a.Members(adapter.Options{Rooms: []string{"room"}}); len(members) != 1 || members[0].ID() != "joiner" {
			t.Fatalf("members %v", members)
		}
		a.Del(joiner, "room")
	}
}

// A socket ends while it joins, or is put into, rooms: nothing may be left.
func testJoinRacesEnd(t *testing.T, a adapter.Adapter) {
	for i := range 500 {
		m := NewMember(fmt.Sprint(i))
		a.Add(m, m.ID(), "all")
		var wg sync.WaitGroup
		wg.Go(func() { a.AddAll(m, "one", "two") })
		wg.Go(func() {
			_ = a.AddSockets(context.Background(), adapter.Options{Rooms: []string{"all"}}, []string{"three"})
		})
		wg.Go(func() { a.DelAll(m) })
		wg.Wait()
		eventually(t, "nothing is left", func() bool { return len(a.Rooms()) == 0 && len(a.Members(adapter.Options{})) == 0 })
	}
}

// Concurrent broadcasts that have a room in common reach its members in the same order, and each publisher's in its own.
func testOrder(t *testing.T, a adapter.Adapter) {
	const publishers, each = 4, 200
	var members []*Member
	for i := range 20 {
		m := NewMember(fmt.Sprint("m", i))
		a.Add(m, "room", m.ID(), fmt.Sprint("other", i%2))
		members = append(members, m)
	}
	targets := []adapter.Options{{Rooms: []string{"room"}}, {}, {Rooms: []string{"other1", "room", "other0"}}}
	stop := make(chan struct{})
	var unrest, wg sync.WaitGroup
	unrest.Go(func() { // others come and go, which moves members within the room
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			m := NewMember(fmt.Sprint("guest", i))
			a.Add(m, "room", m.ID())
			a.DelAll(m)
		}
	})
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				if err := a.Broadcast(context.Background(), event(fmt.Sprintf("[%d,%d]", p, i)), targets[(p+i)%len(targets)]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	unrest.Wait()
	for _, m := range members {
		eventually(t, "all deliveries", func() bool { return len(m.Got()) >= publishers*each })
	}
	first := members[0].Got()
	next := make([]int, publishers)
	for _, data := range first {
		var p, i int
		if _, err := fmt.Sscanf(data, "[%d,%d]", &p, &i); err != nil || next[p] != i {
			t.Fatalf("publisher %d: got %d, want %d (%v)", p, i, next[p], err)
		}
		next[p]++
	}
	for _, m := range members[1:] {
		if !slices.Equal(first, m.Got()) {
			t.Fatalf("%s saw another order, or not all", m.ID())
		}
	}
}

// When DelAll has returned, nothing is delivered any more.
func testNothingAfterTheEnd(t *testing.T, a adapter.Adapter) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, o := range []adapter.Options{{}, {Rooms: []string{"room"}}} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_ = a.Broadcast(context.Background(), event("[]"), o)
				}
			}
		})
	}
	for i := range 200 {
		m := NewMember(fmt.Sprint(i))
		a.Add(m, m.ID(), "room")
		a.DelAll(m)
		n := len(m.Got())
		a.Members(adapter.Options{})
		if late := len(m.Got()); late != n {
			t.Errorf("%d deliveries after the end", late-n)
			break
		}
	}
	close(stop)
	wg.Wait()
}
