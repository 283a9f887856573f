package twine_test

import (
	"errors"
	"regexp"
	"slices"
	"testing"

	"github.com/twine-realtime/twine/twine"
	"github.com/twine-realtime/twine/twine/parser"
)

// tenants is a parent with two children, /tenant-1 with two sockets and /tenant-2 with one.
type tenants struct {
	*twine.ParentNamespace
	clients [3]*testClient
	names   [3]string // of the clients' namespaces
}

func newTenants(t *testing.T) *tenants {
	t.Helper()
	srv := serve(t, nil)
	p := &tenants{ParentNamespace: srv.OfPattern(regexp.MustCompile(`^/tenant-\d+$`)), names: [3]string{"/tenant-1", "/tenant-1", "/tenant-2"}}
	onSync(p)
	for i, name := range p.names {
		p.clients[i] = dial(t, srv)
		id := p.clients[i].join(name, "")
		if i != 1 {
			srv.Of(name).Socket(id).Join("room")
		}
	}
	return p
}

// expect checks what each of the clients has received, and that there is nothing else.
func (p *tenants) expect(event string, want [3]bool) {
	for i, c := range p.clients {
		c.t.Helper()
		if want[i] {
			c.expect("2" + p.names[i] + `,["` + event + `"]`)
		}
		c.send("2" + p.names[i] + `,777["sync"]`)
		c.expect("3" + p.names[i] + ",777[]")
	}
}

func TestParentBroadcasts(t *testing.T) {
	p := newTenants(t)
	for event, tt := range map[string]struct {
		emit func(event string, args ...any) error
		want [3]bool
	}{
		"everyone":     {p.Emit, [3]bool{true, true, true}},
		"to":           {p.To("room").Emit, [3]bool{true, false, true}},
		"in":           {p.In("room").In("nobody").Emit, [3]bool{true, false, true}},
		"except":       {p.Except("room").Emit, [3]bool{false, true, false}},
		"to none":      {p.To("room").Except("room").Emit, [3]bool{}},
		"local":        {p.Local().Unlogged().Emit, [3]bool{true, true, true}},
		"volatile":     {p.Volatile().Compress(false).Emit, [3]bool{true, true, true}},
		"uncompressed": {p.Compress(false).Volatile().Local().Emit, [3]bool{true, true, true}},
	} {
		// A volatile event is dropped while the answer to the last client is still being written.
		eventually(t, "empty queues", func() bool {
			return !slices.ContainsFunc(p.Children(), func(ns *twine.Namespace) bool {
				return slices.ContainsFunc(ns.Sockets(), func(s *twine.Socket) bool { return s.Conn().QueuedBytes() > 0 })
			})
		})
		if err := tt.emit(event); err != nil {
			t.Errorf("%s: %v", event, err)
		}
		p.expect(event, tt.want)
	}
	if err := p.To("room").Emit("disconnect"); !errors.Is(err, parser.ErrReservedEvent) {
		t.Errorf("a reserved event: got %v", err)
	}
}

// An operator that is kept must not change when another is made of it.
func TestParentOperatorsAreImmutable(t *testing.T) {
	p := newTenants(t)
	kept := p.To("room")
	_ = kept.To("a")
	narrower := kept.Except("room")
	_ = kept.Except("b")
	if err := kept.Emit("kept"); err != nil {
		t.Error(err)
	}
	p.expect("kept", [3]bool{true, false, true})
	if err := narrower.Emit("narrower"); err != nil {
		t.Error(err)
	}
	p.expect("narrower", [3]bool{})
}

func TestParentRemoteControl(t *testing.T) {
	p := newTenants(t)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	check(p.SocketsJoin("all"))
	check(p.To("all").Emit("joined"))
	p.expect("joined", [3]bool{true, true, true})
	check(p.In("room").SocketsLeave("all"))
	check(p.To("all").Emit("left"))
	p.expect("left", [3]bool{false, true, false})
	check(p.In("room").SocketsJoin("again"))
	check(p.SocketsLeave("room"))
	check(p.To("room").Emit("nobody"))
	p.expect("nobody", [3]bool{})
	check(p.To("again").DisconnectSockets(false))
	for _, i := range []int{0, 2} {
		p.clients[i].expect("1" + p.names[i] + ",")
	}
	check(p.Emit("who is left"))
	p.clients[1].expect(`2/tenant-1,["who is left"]`)
	check(p.DisconnectSockets(true))
	for _, c := range p.clients {
		if c != p.clients[1] {
			c.cut()
		}
	}
	p.clients[1].expectClosed()
}

func TestParentWithoutChildren(t *testing.T) {
	p := serve(t, nil).OfPattern(regexp.MustCompile(`^/x$`))
	if err := errors.Join(p.Emit("x"), p.To("a").Except("b").Emit("x"), p.SocketsJoin("a"), p.DisconnectSockets(true)); err != nil {
		t.Error(err)
	}
}
