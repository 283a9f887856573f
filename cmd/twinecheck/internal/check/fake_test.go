package check

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/gobwas/ws"
)

// flaws are promises that a fake server breaks on purpose. The probabilities are for each delivery.
type flaws struct {
	lose, repeat, swap, leak, forge float64

	ignoreKeys          bool // each attempt to publish is a message of its own
	forget              bool // no session is restored
	claimAll            bool // restores sessions without what was missed
	replayBeforeConnect bool
}

// fake is a server in this process that does everything right, except for its flaws. What it knows survives Stop, as if it
// were on disk.
type fake struct {
	addr  string
	flaws flaws

	mu       sync.Mutex
	rand     *rand.Rand
	http     *http.Server
	conns    map[*fakeConn]bool
	sessions map[string]*fakeSession
	log      []entry
	seen     map[string]bool // idempotency keys
	group    sync.WaitGroup
}

type entry struct {
	room, text string
}

type fakeSession struct {
	pid   string
	since int // place in the log
	rooms map[string]bool
}

// fakeConn is a connection with what waits to be written to it.
type fakeConn struct {
	conn    net.Conn
	session *fakeSession
	held    string // waits to be swapped with the next

	mu     sync.Mutex
	queue  []string
	closed bool
	wake   chan struct{}
}

func newFake(f flaws) *fake {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	return &fake{
		addr: listener.Addr().String(), flaws: f, rand: rand.New(rand.NewPCG(1, 2)), conns: map[*fakeConn]bool{},
		sessions: map[string]*fakeSession{}, seen: map[string]bool{},
	}
}

func (f *fake) Name() string          { return "fake" }
func (f *fake) Addr() string          { return f.addr }
func (f *fake) PublisherAddr() string { return f.addr }
func (f *fake) Key() string           { return "key" }
func (f *fake) Failed() <-chan error  { return nil }

func (f *fake) Start(context.Context) error {
	listener, err := net.Listen("tcp", f.addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/twine", f.publish)
	mux.HandleFunc("/socket.io/", f.serve)
	server := &http.Server{Handler: mux}
	f.mu.Lock()
	f.http = server
	f.mu.Unlock()
	f.group.Go(func() { server.Serve(listener) })
	return nil
}

func (f *fake) Stop(context.Context, syscall.Signal) error {
	f.mu.Lock()
	server := f.http
	f.mu.Unlock()
	err := server.Close()
	f.mu.Lock()
	for c := range f.conns {
		c.close()
	}
	f.mu.Unlock()
	f.group.Wait()
	return err
}

func (f *fake) Close() error { return f.Stop(context.Background(), syscall.SIGKILL) }

func (f *fake) chance(p float64) bool { return p > 0 && f.rand.Float64() < p }

func (f *fake) publish(w http.ResponseWriter, r *http.Request) {
	var b struct {
		Room    string                     `json:"room_id"`
		Payload map[string]json.RawMessage `json:"payload"`
	}
	if err := json.NewDecoder(r.Body).Decode(&b); err != nil || r.Header.Get("Authorization") != "key" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	b.Payload["room"], _ = json.Marshal(b.Room)
	b.Payload["timestamp"] = json.RawMessage("1")
	f.mu.Lock()
	key := r.Header.Get("Idempotency-Key")
	if !f.seen[key] || f.flaws.ignoreKeys {
		f.seen[key] = true
		f.append(b.Room, b.Payload)
		if f.chance(f.flaws.forge) {
			b.Payload["n"] = json.RawMessage("4000000")
			b.Payload["x"], _ = json.Marshal(filler(atoi(b.Payload["p"]), 4_000_000, 8))
			f.append(b.Room, b.Payload)
		}
	}
	f.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
}

func atoi(raw json.RawMessage) (n int) {
	if err := json.Unmarshal(raw, &n); err != nil {
		panic(err)
	}
	return n
}

// append writes to the log and hands out. f.mu is held.
func (f *fake) append(room string, payload map[string]json.RawMessage) {
	text, _ := json.Marshal(payload)
	f.log = append(f.log, entry{room, string(text)})
	offset := len(f.log)
	for c := range f.conns {
		if c.session == nil || !c.session.rooms[room] && !f.chance(f.flaws.leak) {
			continue
		}
		packet := event("message", string(text), offset)
		switch {
		case f.chance(f.flaws.lose):
			continue
		case f.chance(f.flaws.repeat):
			c.send(packet)
		case c.held == "" && f.chance(f.flaws.swap):
			c.held = packet
			continue
		}
		c.send(packet)
		if c.held != "" {
			c.send(c.held)
			c.held = ""
		}
	}
}

func event(name, argument string, offset int) string {
	return fmt.Sprintf(`42[%q,%s,"%d"]`, name, argument, offset)
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	conn, reader, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		return
	}
	c := &fakeConn{conn: conn, wake: make(chan struct{}, 1)}
	f.mu.Lock()
	f.conns[c] = true
	f.group.Add(2)
	f.mu.Unlock()
	go func() {
		defer f.group.Done()
		c.write()
	}()
	c.send(`0{"sid":"x","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`)
	go func() {
		defer f.group.Done()
		f.read(c, reader.Reader)
	}()
}

func (f *fake) read(c *fakeConn, reader io.Reader) {
	defer func() {
		c.close()
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.conns, c)
	}()
	for {
		h, err := ws.ReadHeader(reader)
		if err != nil || h.Length > 1000 {
			return
		}
		text := make([]byte, h.Length)
		if _, err := io.ReadFull(reader, text); err != nil {
			return
		}
		ws.Cipher(text, h.Mask, 0)
		if h.OpCode != ws.OpText || len(text) < 2 {
			return
		}
		switch string(text[:2]) {
		case "40":
			f.connect(c, text[2:])
		case "42":
			f.subscribe(c, text[2:])
		}
	}
}

func (f *fake) connect(c *fakeConn, auth []byte) {
	var claim struct{ PID, Offset string }
	_ = json.Unmarshal(auth, &claim) // none at the first time
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sessions[claim.PID]
	if s == nil || f.flaws.forget {
		pid := fmt.Sprint("pid-", len(f.sessions))
		s = &fakeSession{pid: pid, since: len(f.log), rooms: map[string]bool{}}
		f.sessions[pid] = s
		c.session = s
		c.send(fmt.Sprintf(`40{"sid":"x","pid":%q}`, pid))
		return
	}
	for other := range f.conns {
		if other.session == s {
			other.close()
			other.session = nil
		}
	}
	from := s.since
	if offset := 0; claim.Offset != "" {
		if _, err := fmt.Sscan(claim.Offset, &offset); err != nil {
			c.close()
			return
		}
		from = max(from, offset) // a stock client sends the offset of an older session, too
	}
	connect := fmt.Sprintf(`40{"sid":"x","pid":%q}`, s.pid)
	if !f.flaws.replayBeforeConnect {
		c.send(connect)
	}
	for i := from; i < len(f.log) && !f.flaws.claimAll; i++ {
		if s.rooms[f.log[i].room] {
			c.send(event("message", f.log[i].text, i+1))
		}
	}
	if f.flaws.replayBeforeConnect {
		c.send(connect)
	}
	c.session = s
}

func (f *fake) subscribe(c *fakeConn, text []byte) {
	var args []string
	if err := json.Unmarshal(text, &args); err != nil || len(args) != 2 {
		c.close()
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.session != nil {
		c.session.rooms[args[1]] = true
		c.send(event("roomJoined", fmt.Sprintf(`"You have joined room: %s"`, args[1]), len(f.log)))
	}
}

func (c *fakeConn) send(packet string) {
	c.mu.Lock()
	c.queue = append(c.queue, packet)
	c.mu.Unlock()
	c.poke()
}

func (c *fakeConn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *fakeConn) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.conn.Close()
	c.poke()
}

// write writes what is queued, until the connection is closed.
func (c *fakeConn) write() {
	for range c.wake {
		c.mu.Lock()
		queue, closed := c.queue, c.closed
		c.queue = nil
		c.mu.Unlock()
		if closed {
			return
		}
		c.conn.SetWriteDeadline(time.Now().Add(time.Minute))
		for _, packet := range queue {
			if err := ws.WriteFrame(c.conn, ws.NewTextFrame([]byte(packet))); err != nil {
				c.close()
				return
			}
		}
	}
}
