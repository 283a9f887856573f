package forward_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/twine-realtime/twine/twine/engineio"
	"github.com/twine-realtime/twine/twine/forward"
	"github.com/twine-realtime/twine/twine/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// echo sends back what it gets.
type echo struct{ session *engineio.Session }

func (e echo) Message(data []byte, binary bool) error {
	return e.session.Send(engineio.NewText(bytes.Clone(data)))
}
func (e echo) Closed(engineio.Reason, error) {}

// node is a server of the cluster.
type node struct {
	*engineio.Server
	*forward.Forwarder
	id       string
	http     *httptest.Server
	requests atomic.Int64
}

// cluster is servers that know each other, behind an address that takes them in turn.
type cluster struct {
	t     *testing.T
	mu    sync.Mutex
	nodes []*node
	urls  map[string]string
	fail  error
	turns atomic.Int64
	asked atomic.Int64
	http  *httptest.Server
}

func start(t *testing.T, ids ...string) *cluster {
	c := &cluster{t: t, urls: map[string]string{}}
	for _, id := range ids {
		n := &node{id: id}
		n.Forwarder = forward.New(forward.Options{NodeID: id, Nodes: c.list, Refresh: time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
		n.Server = engineio.NewServer(&engineio.Options{NodeID: id, UnknownSession: n.Forwarder.Serve, CloseTimeout: 50 * time.Millisecond},
			func(s *engineio.Session) engineio.Handler { return echo{s} })
		n.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n.requests.Add(1)
			w.Header().Set("Access-Control-Allow-Origin", "this node's")
			n.Server.ServeHTTP(w, r)
		}))
		c.nodes = append(c.nodes, n)
		c.urls[id] = n.http.URL
	}
	c.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.nodes[int(c.turns.Add(1))%len(c.nodes)].http.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, n := range c.nodes {
			n.Forwarder.Close()
			if err := n.Server.Close(ctx); err != nil {
				t.Error(err)
			}
		}
		c.http.Close()
		for _, n := range c.nodes {
			n.http.Close()
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return c
}

func (c *cluster) list(context.Context) (map[string]string, error) {
	c.asked.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return nil, c.fail
	}
	all := map[string]string{}
	for id, u := range c.urls {
		all[id] = u
	}
	return all, nil
}

func (c *cluster) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

// ask makes a request and returns its answer.
func (c *cluster) ask(base, method, query, body string, header ...string) (int, string, http.Header) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, base+"/engine.io/?EIO=4&"+query, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, string(text), response.Header
}

// open opens a session by polling and returns its id.
func (c *cluster) open(base string) string {
	c.t.Helper()
	status, text, _ := c.ask(base, "GET", "transport=polling", "")
	var opened struct{ SID string }
	if status != 200 || json.Unmarshal([]byte(strings.TrimPrefix(text, "0")), &opened) != nil {
		c.t.Fatalf("%d %s", status, text)
	}
	return opened.SID
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("waited in vain for %s", what)
		case <-pace.C:
		}
	}
}

func TestPollingOverAllServers(t *testing.T) {
	c := start(t, "a", "b", "c")
	sid := c.open(c.http.URL)
	for i := range 12 {
		message := strings.Repeat("x", i+1)
		if status, text, _ := c.ask(c.http.URL, "POST", "transport=polling&sid="+sid, "4"+message); status != 200 || text != "ok" {
			t.Fatalf("post: %d %s", status, text)
		}
		status, text, header := c.ask(c.http.URL, "GET", "transport=polling&sid="+sid, "")
		if status != 200 || text != "4"+message {
			t.Fatalf("poll: %d %s", status, text)
		}
		if got := header.Values("Access-Control-Allow-Origin"); len(got) != 1 {
			t.Fatalf("a page would refuse %q", got)
		}
	}
	for _, n := range c.nodes {
		if n.ClientsCount() != map[bool]int{true: 1}[engineio.NodeOf(sid) == n.id] {
			t.Errorf("%s has %d clients", n.id, n.ClientsCount())
		}
	}
}

// A session that polls at one server upgrades through another one, and through that it goes on.
func TestUpgradeElsewhere(t *testing.T) {
	c := start(t, "a", "b")
	sid := c.open(c.nodes[0].http.URL)
	conn, _, _, err := ws.Dial(t.Context(), "ws"+strings.TrimPrefix(c.nodes[1].http.URL, "http")+"/engine.io/?EIO=4&transport=websocket&sid="+sid)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	exchange := func(send, want string) {
		t.Helper()
		if err := wsutil.WriteClientText(conn, []byte(send)); err != nil {
			t.Fatal(err)
		}
		if want == "" {
			return
		}
		if got, err := wsutil.ReadServerText(conn); err != nil || string(got) != want {
			t.Fatalf("%q, %v", got, err)
		}
	}
	exchange("2probe", "3probe")
	exchange("5", "")
	for range 100 {
		exchange("4hello", "4hello")
	}
	exchange("4"+strings.Repeat("x", 500_000), "4"+strings.Repeat("x", 500_000))
	// The server in between leaves: the client has to notice, to come back elsewhere.
	c.nodes[1].Forwarder.Close()
	if _, err := wsutil.ReadServerText(conn); err == nil {
		t.Error("the connection goes on")
	}
}

// A long poll that is held up elsewhere ends when the server in between leaves.
func TestPollEndsWithTheForwarder(t *testing.T) {
	c := start(t, "a", "b")
	sid := c.open(c.nodes[0].http.URL)
	polled := make(chan int, 1)
	before := c.nodes[0].requests.Load()
	go func() {
		response, err := http.Get(c.nodes[1].http.URL + "/engine.io/?EIO=4&transport=polling&sid=" + sid)
		if err != nil {
			polled <- 0
			return
		}
		response.Body.Close()
		polled <- response.StatusCode
	}()
	eventually(t, "the poll to arrive", func() bool { return c.nodes[0].requests.Load() > before })
	c.nodes[1].Forwarder.Close()
	if status := <-polled; status == 200 {
		t.Error("the poll was answered")
	}
}

func TestUnknownSessions(t *testing.T) {
	c := start(t, "a", "b")
	unknown := func(base, sid string, header ...string) {
		t.Helper()
		if status, text, _ := c.ask(base, "GET", "transport=polling&sid="+sid, "", header...); status != 400 || !strings.Contains(text, `"code":1`) {
			t.Errorf("%s: %d %s", sid, status, text)
		}
	}
	first := c.nodes[0].http.URL
	unknown(first, "x")
	unknown(first, "a.x")
	unknown(first, "nobody.x")
	before := c.nodes[0].requests.Load() + c.nodes[1].requests.Load()
	unknown(first, "b.x") // asked there
	if got := c.nodes[0].requests.Load() + c.nodes[1].requests.Load() - before; got != 2 {
		t.Errorf("%d requests for one", got)
	}
	// Two servers that take each other for the owner do not pass a request to and fro.
	c.set(func() { c.urls["ghost"] = c.nodes[1].http.URL })
	eventually(t, "the request to be passed on", func() bool {
		before := c.nodes[1].requests.Load()
		unknown(first, "ghost.x")
		return c.nodes[1].requests.Load() == before+1
	})
	unknown(first, "b.x", "Twine-Passed-On-By", "someone")
	// One that is down is no reason to be slow, nor to fail in any other way than the client expects.
	c.set(func() { c.urls["down"] = "http://127.0.0.1:1" })
	eventually(t, "status 502", func() bool {
		status, _, _ := c.ask(first, "GET", "transport=polling&sid=down.x", "")
		return status == http.StatusBadGateway
	})
}

// Ids that nobody has do not make every request ask for the servers again, and what is known outlives a failure.
func TestNodesAreRemembered(t *testing.T) {
	c := start(t, "a", "b")
	sid := c.open(c.nodes[1].http.URL)
	c.asked.Store(0)
	begun := time.Now()
	for range 50 {
		c.ask(c.nodes[0].http.URL, "GET", "transport=polling&sid=nobody.x", "")
	}
	if got, most := c.asked.Load(), 1+int64(time.Since(begun)/(250*time.Millisecond)); got > most {
		t.Errorf("asked %d times, want at most %d", got, most)
	}
	c.set(func() { c.fail = errors.New("out of reach") })
	if status, text, _ := c.ask(c.nodes[0].http.URL, "POST", "transport=polling&sid="+sid, "4x"); status != 200 {
		t.Errorf("%d %s", status, text)
	}
}
