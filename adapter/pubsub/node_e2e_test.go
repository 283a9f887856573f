//go:build e2e && redis

package pubsub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twine-realtime/twine/recovery/redis/redistest"
	"github.com/twine-realtime/twine/twine"
)

// mixed is two servers of ours and one of Node, each with a client in "room" and in a room of the server's name.
type mixed struct {
	redis  *redistest.Server
	node   *nodeServer
	twines []*twine.Server

	mu     sync.Mutex
	events []string // of servers, to ours
}

var clients = []string{"node", "twine0", "twine1"}

func newMixed(t *testing.T, answers string) *mixed {
	redisServer := redistest.Start(t)
	m := &mixed{redis: redisServer}
	args := []string{"redis://" + redisServer.Addr, answers}
	for i := range 2 {
		name := fmt.Sprint("twine", i)
		srv := twine.NewServer(&twine.Options{Logger: quiet(), Adapter: New(redisServer.Client(),
			Options{Logger: quiet(), PublishOnSpecificResponseChannel: answers == "specific"})})
		srv.Of("/chat")
		srv.OnConnect(func(s *twine.Socket) {
			s.Join("room", name)
			s.SetData(map[string]string{"from": name})
		})
		srv.OnServerEvent("news", func(_ context.Context, e *twine.Event) {
			var text string
			var binary []byte
			if err := e.Args(&text, &binary); err != nil {
				t.Error(err)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.events = append(m.events, fmt.Sprint(name, text, binary))
		})
		srv.OnServerEvent("question", func(_ context.Context, e *twine.Event) {
			_ = e.Ack(map[string]any{"answer": e.Raw(0), "from": name, "buffer": []byte{1, 255}}, "second")
		})
		web := httptest.NewServer(srv)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := srv.Close(ctx); err != nil {
				t.Errorf("close: %v", err)
			}
			web.Close()
		})
		m.twines = append(m.twines, srv)
		args = append(args, web.URL)
	}
	m.node = startNode(t, args...)
	m.countsTo(t, 3)
	return m
}

func (m *mixed) countsTo(t *testing.T, n int) {
	t.Helper()
	for _, srv := range m.twines[:n-1] {
		eventually(t, "our servers know of all", func() bool {
			got, err := srv.Of("/").ServerCount(t.Context())
			return err == nil && got == n
		})
	}
	eventually(t, "Node knows of all", func() bool { return m.node.do(t, "count") == fmt.Sprint(n) })
}

func (m *mixed) gotEvents() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(slices.Values(m.events))
}

// expect waits until a client has got what an event's arguments are written as, and looks that it is once.
func (m *mixed) expect(t *testing.T, receivers []string, event, args string) {
	t.Helper()
	for _, name := range clients {
		line := fmt.Sprintf("[%q,%q%s]", name, event, args)
		want := 0
		if slices.Contains(receivers, name) {
			want = 1
			m.node.await(t, 0, line)
		}
		if got := m.node.count(line); got != want {
			t.Errorf("%s got %s %d times, want %d", name, line, got, want)
		}
	}
}

func TestNode(t *testing.T) {
	for _, answers := range []string{"shared", "specific"} {
		t.Run(answers, func(t *testing.T) {
			m := newMixed(t, answers)
			for _, test := range []struct {
				name string
				f    func(*mixed, *testing.T)
			}{
				{"Broadcasts", (*mixed).broadcasts},
				{"Flags", (*mixed).flags},
				{"Acks", (*mixed).acks},
				{"ServerSideEvents", (*mixed).serverSideEvents},
				{"FetchSockets", (*mixed).fetchSockets},
				{"Rooms", (*mixed).moves},
				{"Restart", (*mixed).restart},
				{"Disconnect", (*mixed).disconnect},
				{"Count", (*mixed).leaves},
			} {
				t.Run(test.name, func(t *testing.T) { test.f(m, t) })
			}
		})
	}
}

func (m *mixed) broadcasts(t *testing.T) {
	const binary = `,{"bytes":[1,2,255]},{"nested":{"bytes":[7]}},"1970-01-01T00:00:00.000Z"`
	for i, srv := range m.twines {
		name := fmt.Sprint("twine", i)
		must(t, srv.Emit("all"+name, "ü", map[string]any{"a": []any{1, nil, 1.5, true}}))
		must(t, srv.To("room").Emit("room"+name, 1<<53, -7))
		must(t, srv.To("node", "twine1").Emit("two"+name))
		must(t, srv.Except("node").Emit("except"+name))
		must(t, srv.To("room").Emit("binary"+name, []byte{1, 2, 255}, map[string]any{"nested": []byte{7}}, "1970-01-01T00:00:00.000Z"))
		must(t, srv.Of("/chat").Emit("chat"+name)) // nobody is there
		must(t, srv.Emit("last"+name))
		m.expect(t, clients, "last"+name, "")
		m.expect(t, clients, "all"+name, `,"ü",{"a":[1,null,1.5,true]}`)
		m.expect(t, clients, "room"+name, `,9007199254740992,-7`)
		m.expect(t, []string{"node", "twine1"}, "two"+name, "")
		m.expect(t, []string{"twine0", "twine1"}, "except"+name, "")
		m.expect(t, clients, "binary"+name, binary)
		m.expect(t, nil, "chat"+name, "")
	}
	for _, sender := range []string{"io", "emitter"} {
		from := m.node.mark()
		m.node.do(t, "emit", sender, "", "all"+sender, "ü", map[string]any{"a": []any{1, nil, 1.5, true}}, -1<<40)
		m.node.do(t, "emit", sender, "room", "room"+sender)
		m.node.do(t, "emit", sender, []string{"node", "twine1"}, "two"+sender)
		m.node.do(t, "except", sender, "node", "except"+sender)
		m.node.do(t, "binary", sender, "room")
		m.node.do(t, "emit", "chat", "", "chat"+sender)
		m.node.do(t, "emit", sender, "", "last"+sender)
		m.expect(t, clients, "last"+sender, "")
		m.expect(t, clients, "all"+sender, `,"ü",{"a":[1,null,1.5,true]},-1099511627776`)
		m.expect(t, clients, "room"+sender, "")
		m.expect(t, []string{"node", "twine1"}, "two"+sender, "")
		m.expect(t, []string{"twine0", "twine1"}, "except"+sender, "")
		m.expect(t, nil, "chat"+sender, "")
		for _, name := range clients {
			m.node.await(t, from, fmt.Sprintf(`[%q,"binary"%s]`, name, binary))
		}
	}
	m.node.do(t, "emit", "socket", "room", "others")
	m.node.do(t, "emit", "io", "", "lastsocket")
	m.expect(t, clients, "lastsocket", "")
	m.expect(t, []string{"twine0", "twine1"}, "others", "")
}

// settle waits until our servers have nothing under way to clients, for then they drop volatile events.
func (m *mixed) settle(t *testing.T) {
	t.Helper()
	for _, srv := range m.twines {
		for _, s := range srv.Of("/").Sockets() {
			eventually(t, "nothing is under way", func() bool { return s.Conn().QueuedBytes() == 0 })
		}
	}
}

func (m *mixed) flags(t *testing.T) {
	from := m.node.mark()
	m.settle(t)
	must(t, m.twines[0].To("room").Volatile().Compress(false).Emit("volatile"))
	must(t, m.twines[0].Local().Emit("local"))
	for _, name := range clients {
		m.node.await(t, from, fmt.Sprintf(`[%q,"volatile"]`, name))
	}
	m.expect(t, []string{"twine0"}, "local", "")
	for _, sender := range []string{"io", "emitter"} {
		from := m.node.mark()
		m.settle(t)
		m.node.do(t, "volatile", sender, "room")
		for _, name := range clients {
			m.node.await(t, from, fmt.Sprintf(`[%q,"volatile"]`, name))
		}
	}
	m.node.do(t, "local")
	m.node.do(t, "emit", "io", "", "lastflags")
	m.expect(t, clients, "lastflags", "")
	m.expect(t, []string{"node", "twine0"}, "local", "")
}

func (m *mixed) acks(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	replies, err := m.twines[0].To("room").EmitWithAck(ctx, "ask", []byte{9})
	if err != nil || len(replies) != 3 {
		t.Fatalf("replies %v, %v", replies, err)
	}
	var from []string
	for _, r := range replies {
		var answer struct {
			From   string
			Buffer []byte
		}
		if err := r.Bind(0, &answer); err != nil || !slices.Equal(answer.Buffer, []byte{2, 254}) {
			t.Errorf("answer %s, %v", r.Raw(0), err)
		}
		// One argument is all that Node passes on.
		if (answer.From == "node") != (r.Len() == 1) || (answer.From == "node") != (r.Socket() == "") {
			t.Errorf("%d arguments of %q of %s", r.Len(), r.Socket(), answer.From)
		}
		from = append(from, answer.From)
	}
	if slices.Sort(from); !slices.Equal(from, clients) {
		t.Errorf("answers of %v", from)
	}
	m.expect(t, clients, "ask", `,{"bytes":[9]}`)

	var answers []struct {
		From   string
		Buffer struct{ Bytes []int }
	}
	if err := json.Unmarshal([]byte(m.node.do(t, "ask", "room", "asknode", 1)), &answers); err != nil || len(answers) != 3 {
		t.Fatalf("Node was answered %v, %v", answers, err)
	}
	from = nil
	for _, a := range answers {
		if !slices.Equal(a.Buffer.Bytes, []int{2, 254}) {
			t.Errorf("Node was answered %v", a)
		}
		from = append(from, a.From)
	}
	if slices.Sort(from); !slices.Equal(from, clients) {
		t.Errorf("Node was answered by %v", from)
	}
	m.expect(t, clients, "asknode", ",1")

	if got := m.node.do(t, "ask", "nobody's", "asknode"); got != "[]" {
		t.Errorf("nobody answered Node %s", got)
	}
	if got := m.node.do(t, "impatient", "room"); got != "[]" {
		t.Errorf("silent clients answered Node %s", got)
	}
	if replies, err := m.twines[0].To("room").Timeout(300*time.Millisecond).EmitWithAck(ctx, "silence"); len(replies) != 0 || !errors.Is(err, twine.ErrTimeout) {
		t.Errorf("silent clients answered %v, %v", replies, err)
	}
	if replies, err := m.twines[0].To("nobody's").EmitWithAck(ctx, "ask"); len(replies) != 0 || err != nil {
		t.Errorf("nobody answered %v, %v", replies, err)
	}
}

func (m *mixed) serverSideEvents(t *testing.T) {
	must(t, m.twines[0].ServerSideEmit("news", "of twine0", []byte{4, 252}))
	m.node.await(t, 0, `["server event","news","of twine0",{"type":"Buffer","data":[4,252]}]`)
	m.node.do(t, "news", "io", "of node")
	m.node.do(t, "news", "emitter", "of emitter")
	m.node.await(t, 0, `["server event","news","of emitter"`)
	want := []string{"twine0of emitter[3 253]", "twine0of node[3 253]", "twine1of emitter[3 253]", "twine1of node[3 253]", "twine1of twine0[4 252]"}
	eventually(t, "our servers get the events", func() bool { return len(m.gotEvents()) >= len(want) })
	if got := m.gotEvents(); !slices.Equal(got, want) {
		t.Errorf("our servers got %v", got)
	}

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	replies, err := m.twines[0].ServerSideEmitWithAck(ctx, "question", 42)
	if err != nil || len(replies) != 2 {
		t.Fatalf("replies %v, %v", replies, err)
	}
	var from []string
	for _, r := range replies {
		var answer struct {
			Answer int
			From   string
			Buffer []byte
		}
		if err := r.Bind(0, &answer); err != nil || answer.Answer != 42 || !slices.Equal(answer.Buffer, []byte{1, 255}) {
			t.Errorf("answer %s, %v", r.Raw(0), err)
		}
		from = append(from, answer.From, fmt.Sprint(r.Len()))
	}
	if slices.Sort(from); !slices.Equal(from, []string{"1", "2", "node", "twine1"}) {
		t.Errorf("answers of %v", from)
	}
	var answers []struct{ From string }
	got := m.node.do(t, "question", "x")
	if err := json.Unmarshal([]byte(got), &answers); err != nil || len(answers) != 2 ||
		strings.Count(got, `"answer":"x"`) != 2 || strings.Count(got, `"buffer":{"type":"Buffer","data":[1,255]}`) != 2 {
		t.Errorf("Node was answered %s, %v", got, err)
	}
}

func (m *mixed) fetchSockets(t *testing.T) {
	type description struct {
		ID        string
		Rooms     []string
		Data      struct{ From string }
		Handshake struct{ Headers map[string]string }
	}
	var ids map[string]string
	if err := json.Unmarshal([]byte(m.node.do(t, "ids")), &ids); err != nil {
		t.Fatal(err)
	}
	check := func(who string, all []description) {
		if len(all) != 3 {
			t.Errorf("%s sees %+v", who, all)
		}
		for _, d := range all {
			if d.ID != ids[d.Data.From] || d.Handshake.Headers["upgrade"] != "websocket" || !slices.Equal(slices.Sorted(slices.Values(d.Rooms)),
				slices.Sorted(slices.Values([]string{"room", d.Data.From, d.ID}))) {
				t.Errorf("%s sees %+v", who, d)
			}
		}
	}
	for _, room := range []string{"room", ""} {
		var theirs []description
		if err := json.Unmarshal([]byte(m.node.do(t, "fetch", orAll(room))), &theirs); err != nil {
			t.Fatal(err)
		}
		check("Node", theirs)
		sockets, err := m.twines[1].To(orAll(room)...).FetchSockets(t.Context())
		must(t, err)
		var ours []description
		for _, s := range sockets {
			d := description{ID: s.ID(), Rooms: s.Rooms()}
			must(t, s.BindData(&d.Data))
			h, err := s.Handshake()
			must(t, err)
			d.Handshake.Headers = map[string]string{"upgrade": h.Header.Get("Upgrade")}
			ours = append(ours, d)
		}
		check("Twine", ours)
	}
	sockets, err := m.twines[1].Except("twine0").FetchSockets(t.Context())
	if err != nil || len(sockets) != 2 {
		t.Errorf("sockets %v, %v", sockets, err)
	}
	a := m.twines[0].Of("/").Adapter().(*Adapter)
	list, err := a.Sockets(t.Context(), inRooms("room"))
	if err != nil || len(list) != 3 {
		t.Errorf("ids %v, %v", list, err)
	}
	list, err = a.AllRooms(t.Context())
	want := []string{"room", "node", "twine0", "twine1", ids["node"], ids["twine0"], ids["twine1"]}
	slices.Sort(want)
	if slices.Sort(list); err != nil || !slices.Equal(list, want) {
		t.Errorf("rooms %v, %v", list, err)
	}
	if err := json.Unmarshal([]byte(m.node.do(t, "allRooms")), &list); err != nil || len(list) != len(want) {
		t.Errorf("Node sees the rooms %v, %v", list, err)
	}
}

// orAll returns a list of rooms that selects everyone if there is no room.
func orAll(room string) []string {
	if room == "" {
		return []string{}
	}
	return []string{room}
}

func (m *mixed) moves(t *testing.T) {
	everywhere := func(room string, in bool) {
		t.Helper()
		for _, srv := range m.twines {
			eventually(t, "it has moved "+room, func() bool { return slices.Contains(srv.Of("/").Sockets()[0].Rooms(), room) == in })
		}
		eventually(t, "the socket of Node has moved "+room, func() bool {
			return strings.Contains(m.node.do(t, "rooms"), fmt.Sprintf("%q", room)) == in
		})
	}
	must(t, m.twines[0].To("room").SocketsJoin("ours", "more"))
	everywhere("ours", true)
	everywhere("more", true)
	must(t, m.twines[1].To("ours").SocketsLeave("more"))
	everywhere("more", false)
	for _, sender := range []string{"io", "emitter"} {
		m.node.do(t, "join", sender, "room", "by "+sender)
		everywhere("by "+sender, true)
		m.node.do(t, "leave", sender, "ours", "by "+sender)
		everywhere("by "+sender, false)
	}
	sockets, err := m.twines[0].In("node").FetchSockets(t.Context())
	if err != nil || len(sockets) != 1 {
		t.Fatalf("sockets %v, %v", sockets, err)
	}
	must(t, sockets[0].Join("alone"))
	eventually(t, "the socket of Node has moved", func() bool { return strings.Contains(m.node.do(t, "rooms"), `"alone"`) })
}

func (m *mixed) restart(t *testing.T) {
	m.redis.Kill()
	if err := m.twines[0].To("room").Emit("alone"); err != nil && !errors.Is(err, ErrUnreachable) {
		t.Error(err)
	}
	m.node.await(t, 0, `["twine0","alone"]`)
	m.redis.Run()
	m.countsTo(t, 3)
	for i, srv := range m.twines {
		eventually(t, "broadcasts are published again", func() bool { return srv.Emit("again") == nil })
		must(t, srv.Emit(fmt.Sprint("after", i)))
		m.expect(t, clients, fmt.Sprint("after", i), "")
	}
	m.node.do(t, "emit", "io", "room", "afternode")
	m.expect(t, clients, "afternode", "")
}

func (m *mixed) disconnect(t *testing.T) {
	m.node.do(t, "kick", "io", "twine0")
	m.node.await(t, 0, `["twine0","disconnect"`)
	m.node.do(t, "kick", "emitter", "twine1")
	m.node.await(t, 0, `["twine1","disconnect"`)
	must(t, m.twines[1].In("node").DisconnectSockets(true))
	m.node.await(t, 0, `["node","disconnect"`)
}

func (m *mixed) leaves(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, m.twines[1].Close(ctx))
	m.countsTo(t, 2)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
